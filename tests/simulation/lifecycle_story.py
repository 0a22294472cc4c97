"""What happens in the lifecycle's world: operators, canaries with a nature, a disk and a registry with moods.

Seeded. The nature of an artifact decides what the judge finds, so that a story can be checked against the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from server.control.decision_text import Decision, decision_text
from server.control.recovery import begin
from server.control.state_document import state_document
from server.lifecycle import events
from server.lifecycle.journal import Head, next_line
from server.lifecycle.plan import PPM, Plan, Promotion, Step
from server.lifecycle.state import Artifact, ModelState
from server.processes import ModelPin
from tests.simulation.lifecycle_world import MODEL, Control, Crash, Violation, World, check_projections

SECOND_NS: Final = 1_000_000_000
ARTIFACTS: Final = tuple(Artifact(str(version), f"{version:064x}") for version in range(1, 9))
NATURE: Final = dict(
    zip(
        (artifact.digest for artifact in ARTIFACTS),
        ("good", "good", "worse", "crashes", "does not load", "good", "worse", "good"),
        strict=True,
    )
)
PLANS: Final = (
    Plan((Step(10_000, bake_s=2, minimum_requests=20), Step(500_000, bake_s=2, minimum_requests=20))),
    Plan((Step(50_000, bake_s=3),)),
    Plan((Step(50_000), Step(250_000, minimum_requests=50)), Promotion.APPROVED),
    Plan((Step(50_000),), Promotion.NEVER),
)


def first_world(planted: frozenset[str] = frozenset()) -> World:
    """A server that has started with version 1, and written down that it did."""
    stable = ARTIFACTS[0]
    pin = ModelPin(name=MODEL, version=stable.version, digest=stable.digest)
    start = begin(pin, None, (), 0, "2026-01-01T00:00:00Z")
    text = decision_text(Decision(start.entry, state_document(start.kept.model)))
    return World(start.kept.model, [text], next_line(Head(), start.entry)[0], loaded={stable.digest}, planted=planted)


class Story:
    """One model's life. crash_chance: of a crash of control, for each second, soon after."""

    def __init__(self, world: World, seed: int, crash_chance: float = 0.0, moods: bool = True) -> None:
        self.world = world
        self.random = Random(seed)
        self.crash_chance = crash_chance
        self.moods = moods
        self.now_ns = 0
        self.control = Control(world)
        self.ever_last_safe = False
        self.ever_put_off = False

    def second(self) -> None:
        """One second, with all that it brings; a crash of control in it is followed by a new one."""
        self.now_ns += SECOND_NS
        if self.random.random() < self.crash_chance:
            self.world.crash_in = self.random.randrange(12)
        if self.moods and self.random.random() < 0.1:
            self.world.disk_full = self.random.random() < 0.4
            self.world.registry_down = self.random.random() < 0.4
        before = self.world.route
        self._survive(self._live)
        self.world.check_route()
        self._check_decision(before, self.world.route)

    def settle(self) -> None:
        """Everything is well again, and what waits is written."""
        self.world.crash_in = None
        self.world.disk_full = self.world.registry_down = False
        self.crash_chance = 0.0
        for _ in range(3):
            self._load()
            self.control.write()
        check_projections(self.world, self.control)

    def _survive(self, live: Callable[[], None]) -> None:
        try:
            live()
        except Crash:
            while True:
                try:
                    self.control = Control(self.world)
                    self.control.write()
                    return
                except Crash:
                    continue

    def _live(self) -> None:
        self._load()
        if self.random.random() < 0.3:
            self._operate()
        if self.random.random() < 0.2:
            known = tuple(sorted(self.random.sample(ARTIFACTS, 5), key=lambda artifact: -int(artifact.version)))
            self.control.apply(events.Known(artifacts=known, **self._when()))
        self._judge()
        self._accidents()
        self.control.apply(events.Tick(**self._when()))
        self.control.write()

    def _load(self) -> None:
        news, self.control.news = self.control.news, []
        for digest in news:
            self.control.apply(events.Loaded(digest=digest, **self._when()))
        for digest in list(self.control.loading):
            if self.random.random() < 0.3:
                continue
            if self.world.registry_down and self.random.random() < 0.7:
                self._not_fetched(digest)
                continue
            self.control.loading.pop(digest, None)
            if NATURE[digest] == "does not load":
                self.control.apply(events.LoadFailed(digest=digest, reason="damaged", **self._when()))
            else:
                self.world.loaded.add(digest)
                self.control.apply(events.Loaded(digest=digest, **self._when()))

    def _not_fetched(self, digest: str) -> None:
        """What is on trial is refused, what is coming has its turn later; anything else goes on being loaded."""
        model = self.control.model
        waiting = (*model.on_trial, model.coming)
        if any(artifact is not None and artifact.digest == digest for artifact in waiting):
            self.control.loading.pop(digest, None)
            failed = events.LoadFailed(digest=digest, reason="down", unavailable=True, **self._when())
            self.ever_put_off = self.ever_put_off or digest not in {artifact.digest for artifact in model.on_trial}
            self.control.apply(failed)

    def _operate(self) -> None:
        artifact = self.random.choice(ARTIFACTS)
        who = self._when() | {"operator": "eva", "reason": "why not", "request_id": f"{self.random.random()}"}
        rollout = {"plan": self.random.choice(PLANS), "rollout_id": "r", "salt": self.random.getrandbits(62)}
        requests: tuple[Callable[[], events.Event], ...] = (
            *[lambda: events.DeployCanary(artifact=artifact, **rollout, **who)] * 6,
            lambda: events.SetWeight(weight_ppm=self.random.randrange(PPM + 1), **who),
            lambda: events.SetShadow(artifact=self.random.choice((artifact, None)), **who),
            lambda: events.Promote(**who),
            lambda: events.Rollback(**who),
            lambda: events.Quarantine(digest=artifact.digest, **who),
            *[lambda: events.Release(digest=artifact.digest, **who)] * 4,
            lambda: events.Freeze(**who),
            *[lambda: events.Unfreeze(**who)] * 4,
            lambda: events.Pause(**who),
            lambda: events.Resume(**who),
        )
        self.control.apply(self.random.choice(requests)())

    def _judge(self) -> None:
        canary = self.control.model.canary
        if canary is None or not canary.started:
            return
        worse = NATURE[canary.artifact.digest] == "worse"
        found = self.random.random() < 0.3
        self.control.apply(
            events.Judged(
                digest=canary.artifact.digest,
                verdict=("worse" if worse else "not_worse") if found else "wait",
                requests=canary.requests + self.random.randrange(30),
                evidence={"errors": self.random.randrange(9)},
                **self._when(),
            )
        )

    def _accidents(self) -> None:
        canary, stable = self.control.model.canary, self.control.model.stable
        running = canary.artifact if canary is not None and canary.started else stable
        if running is None:
            return
        chance = 0.3 if NATURE[running.digest] == "crashes" else 0.0 if running != stable else 0.02
        if self.random.random() < chance:
            self.control.apply(events.Incident(digest=running.digest, detail="SIGSEGV", **self._when()))

    def _check_decision(self, before: ModelState, after: ModelState) -> None:
        """last_safe stays, unless it serves, is in quarantine, or a later one is there."""
        self.ever_last_safe = self.ever_last_safe or after.last_safe is not None
        lost = before.last_safe
        if lost is None or after.last_safe is not None or lost.digest in after.quarantine:
            return
        if lost not in (after.stable, after.coming) and after.revision - before.revision < 2:
            raise Violation(f"last_safe {lost.version} was lost at revision {after.revision}")

    def _when(self) -> dict[str, Any]:
        seconds = self.now_ns // SECOND_NS
        at_utc = f"2026-01-01T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z"
        return {"now_ns": self.now_ns, "at_utc": at_utc}
