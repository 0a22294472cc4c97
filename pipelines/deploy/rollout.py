"""A rollout, asked for and followed to its end: events as they come, looks in between, and traffic where there is none.

Used by `deploying.py`. What all of it means is decided by `watch.py`; this is the shell. Always: a server that goes
silent is asked again, and what it decided meanwhile is read in its journal; the version is only ever taken back at a
revision at which it was seen to be the canary.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import grpc

from pipelines.deploy import watch
from pipelines.deploy.admin_calls import KEPT_EVENTS, AdminPort, Declined, NoAnswer
from pipelines.deploy.options import Play
from pipelines.deploy.server import Server
from pipelines.deploy.traffic import Tally, has_keys_enough, is_played, needed_per_s, play
from pipelines.deploy.watch import Trial
from pipelines.examples import Examples
from pipelines.parameters import Deploy
from protos.roost.v1 import admin_pb2

LOOK_PERIOD_S: Final = 0.5
AGAIN_S: Final = 0.5
AWAY_S_MAX: Final = 60.0
"""A control process that was killed is back within seconds, a whole server that is started anew within a minute."""
LOADING_S_MAX: Final = 600.0
MEASURED_S: Final = 2.0
BACK_TRIES: Final = 5
BEGUN_S_MAX: Final = 30.0


@dataclass(frozen=True)
class Candidate:
    """What is to be tried. reason: for the journal."""

    model: str
    version: int
    digest: str
    reason: str


@dataclass
class Rollout:
    """One version's, on one server. Call `ask`, then `follow`, then, where it is still there and ours, `take_back`.

    examples: what is played; None where there are none. show: takes each change. asked: whether the server may know of
    it. drift: the last that was said of this canary's answers. loading_s, trial_s: how long each took.
    """

    port: AdminPort
    server: Server
    candidate: Candidate
    parameters: Deploy
    traffic: Play
    examples: Examples | None
    show: Callable[[Rollout], None]
    tally: Tally = field(default_factory=Tally)
    played: str = "no recorded traffic yet"
    asked: bool = False
    drift: admin_pb2.GetDriftReply | None = None
    loading_s: float | None = None
    trial_s: float | None = None
    _began_s: float = field(default_factory=time.monotonic)
    _canary_s: float | None = None
    _answered_s: float = 0.0
    _following_s: float = 0.0

    def __post_init__(self) -> None:
        self.trial = Trial(str(self.candidate.version), self.candidate.digest, self.parameters.steps, 0)

    # --- Asking ------------------------------------------------------------------------------------------------------
    async def ask(self, state: admin_pb2.ModelState) -> None:
        """Deploys the version, or joins the rollout that it is in already. state: the model, as it was just seen."""
        candidate, self.asked = self.candidate, True
        self.trial = replace(self.trial, revision=state.revision)
        if state.canary.digest == candidate.digest:
            self.trial = watch.described(self.trial, state)
            await self._join()
            return
        plan = {
            "promotion": "automatic",
            "steps": [
                {"weight": step.weight, "bake_s": step.seconds, "minimum_requests": step.requests}
                for step in self.parameters.steps
            ],
        }
        self.show(self)
        call = asyncio.ensure_future(
            self.port.deploy_canary(
                candidate.model, str(candidate.version), candidate.digest, plan, candidate.reason, state.revision
            )
        )
        try:
            await asyncio.shield(call)
        except asyncio.CancelledError:
            # The server does what it has begun to do: only what is a canary by then can be taken back.
            await asyncio.wait([call], timeout=BEGUN_S_MAX)
            raise

    async def _join(self) -> None:
        """A rollout that was begun by a run that was killed, or by an operator, whose it stays."""
        known = await self.port.decisions(self.candidate.model)
        begun = next((one for one in reversed(known) if one.kind == "canary_deployed" and self._is_of(one)), None)
        if begun is None:
            return
        trial = replace(self.trial, revision=begun.revision - 1)
        for decision in known:
            trial = watch.told(trial, decision)
        self.trial = trial
        if begun.operator != watch.OPERATOR and trial.ending is None and not trial.by_hand:
            self.trial = replace(trial, by_hand=begun.operator)

    def _is_of(self, decision: watch.Decision) -> bool:
        return decision.digest("to", "canary") == self.candidate.digest

    # --- Following ---------------------------------------------------------------------------------------------------
    async def follow(self) -> Trial:
        """Until it has ended. Cancelled, it leaves the canary as it is."""
        self._following_s = self._answered_s = time.monotonic()
        tasks = [asyncio.ensure_future(each) for each in (self._listen(), self._look(), self._play())]
        try:
            while self.trial.ending is None:
                done, _ = await asyncio.wait(tasks, timeout=LOOK_PERIOD_S / 5, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()  # what it raised is raised here
                self._take(watch.lost(self.trial, problem) if (problem := self.server.problem()) else self._in_time())
        finally:
            await _ended(tasks)
            if self._canary_s is not None:
                self.trial_s = time.monotonic() - self._canary_s
        return self.trial

    def _in_time(self) -> Trial:
        now_s = time.monotonic()
        if now_s - self._answered_s > AWAY_S_MAX:
            return watch.lost(self.trial, f"{self.port.address} did not answer for {AWAY_S_MAX:g} s.")
        if self._canary_s is not None and now_s - self._canary_s > self.parameters.timeout_s:
            return watch.late(self.trial, self.parameters.timeout_s)
        if self._canary_s is None and now_s - self._following_s > LOADING_S_MAX:
            return watch.late(self.trial, LOADING_S_MAX)
        return self.trial

    def _take(self, trial: Trial) -> None:
        """The next state of it."""
        changed, self.trial = trial is not self.trial, trial
        if trial.phase == "canary" and self._canary_s is None:
            self._canary_s = time.monotonic()
            self.loading_s = self._canary_s - self._began_s
        if changed:
            self.show(self)

    async def _listen(self) -> None:
        """Events from the oldest that is kept on, so that none falls between two streams. Looks find the same later."""
        after = KEPT_EVENTS
        while True:
            try:
                async for event in self.port.events(self.candidate.model, after):
                    after = event.sequence
                    decision = watch.decision_of(event)
                    self._take(watch.noted(self.trial, event) if decision is None else watch.told(self.trial, decision))
            except (NoAnswer, Declined):
                await asyncio.sleep(AGAIN_S)

    async def _look(self) -> None:
        """What events do not tell: requests, the time in the step, the verdict in words."""
        while True:
            try:
                await self._look_once()
                self._answered_s = time.monotonic()
            except NoAnswer:
                pass  # `_in_time` counts for how long
            except Declined as declined:
                self._take(watch.left(self.trial, f"the server does not tell of it any more ({declined.words})"))
            await asyncio.sleep(LOOK_PERIOD_S)

    async def _look_once(self) -> None:
        model, words = self.candidate.model, ""
        if self.trial.phase == "canary":
            evidence = await self.port.evidence(model)
            words = evidence.words[0] if evidence.words and evidence.canary.digest == self.candidate.digest else ""
            await self.look_at_drift()
        state = (await self.port.describe(model)).model
        if watch.is_missed(self.trial, state):
            await self._read_journal()
        if self.trial.ending is None:
            self._take(replace(watch.described(self.trial, state), words=words))

    async def look_at_drift(self) -> None:
        """Only of this canary: of one that is gone the server says nothing any more."""
        drift = await self.port.drift(self.candidate.model)
        if drift.canary.artifact.digest == self.candidate.digest:
            self.drift = drift

    async def _read_journal(self) -> None:
        for decision in await self.port.decisions(self.candidate.model):
            self._take(watch.told(self.trial, decision))

    # --- Traffic -----------------------------------------------------------------------------------------------------
    async def _play(self) -> None:
        """Nothing until the canary has a share; then recorded traffic, as long as there is too little of its own."""
        while self._canary_s is None:
            await asyncio.sleep(LOOK_PERIOD_S / 5)
        steps, most = self.trial.steps, self.parameters.rows_per_s
        needed = needed_per_s(steps, most)
        while not self.server.own and not is_played(self.traffic, seen := await self._calls_per_s(), needed):
            self.played = f"{seen:,.0f} calls/s of its own" + (", none played" if self.traffic == "never" else "")
            self.show(self)
        if self.traffic == "never":
            self.played = "none played"
            await asyncio.Event().wait()
        if self.examples is None or len(self.examples) == 0:
            self._take(watch.left(self.trial, "it has no callers, and features/evaluation.parquet no rows to play"))
            return
        keyed = has_keys_enough(len(self.examples), steps)
        self.played = f"recorded traffic, {'keyed' if keyed else 'without keys'}"
        self.tally = Tally()
        self.show(self)
        await play(self.server.target, self.candidate.model, self.examples, most, self.tally, keyed=keyed)

    async def _calls_per_s(self) -> float:
        """That the model had by itself in MEASURED_S, of both variants."""
        before, began_s = await self._counted(), time.monotonic()
        await asyncio.sleep(MEASURED_S)
        after = await self._counted()
        return max(0, after - before) / (time.monotonic() - began_s)

    async def _counted(self) -> int:
        while True:
            try:
                reply = await self.port.evidence(self.candidate.model)
                return sum(epoch.stable.requests + epoch.canary.requests for epoch in reply.epochs)
            except (NoAnswer, Declined):
                await asyncio.sleep(AGAIN_S)

    # --- Taking back -------------------------------------------------------------------------------------------------
    async def take_back(self, reason: str) -> str:
        """What was done, in words. Where it was decided meanwhile, the trial's ending says so instead."""
        for _ in range(BACK_TRIES):
            try:
                state = (await self.port.describe(self.candidate.model)).model
                if state.canary.digest != self.candidate.digest:
                    return await self._was_decided(state)
                await self.port.take_back(self.candidate.model, self.candidate.digest, reason, state.revision)
                return f"It was taken back: version {state.stable.version} serves alone, as before."
            except NoAnswer:
                await asyncio.sleep(AGAIN_S)
            except Declined as declined:
                if declined.code is not grpc.StatusCode.ABORTED:
                    return f"It could not be taken back: {declined.words}"
        return (
            f"It could not be taken back, since the server does not answer: see roost status {self.candidate.model}, "
            f"then roost rollback {self.candidate.model}."
        )

    async def _was_decided(self, state: admin_pb2.ModelState) -> str:
        """It is no canary any more: whatever we held it for, the server's decision counts."""
        ours, self.trial = self.trial, replace(self.trial, ending=None)
        await self._read_journal()
        if self.trial.ending is None:
            self.trial = ours
            return f"It is no canary any more: roost explain {state.name} says why."
        return ""


async def _ended(tasks: Sequence[asyncio.Future[None]]) -> None:
    """Cancels them all, and waits."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
