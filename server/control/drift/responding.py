"""Responding: what follows from drift by the policy. It is told, a plan waits, or traffic goes home.

Used by `watching`. Always: a cool-down is for telling and going home, and each canary has its own; a plan that begins
while drift stands waits, too, once in a rollout for the population and once for the canary itself, so that an operator
who resumes it has the last word, over restarts as well; for the population's drift traffic goes home once in a
cool-down, whichever signal asks, and never for rows of a stable that serves no more. Nothing is done while automatic
action is frozen, in a dry run, or where `lifecycle.auto_rollback` is off and it would be a rollback; it is told all the
same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from server.control.driver import Driver
from server.judgement.drift.policy import CANARY, DriftPolicy, Response, Taken, decide
from server.lifecycle import events
from server.lifecycle.refusal import Refused

log = logging.getLogger("roost.control")

ALERT_PREFIX: Final = "drift of "
OPERATOR: Final = "roost drift"
TAKEN_MAX: Final = 1024
REASON_CHARACTERS: Final = 400
POPULATION: Final = "population"
HOME_S_MIN: Final = 60.0  # even without a cool-down: windows of several lengths end together


@dataclass(frozen=True)
class Finding:
    """What has drifted. text: what an event says of it; why: for a journal; detail: what it stands on, plain JSON.

    stable: the digest of the one whose rows they are. canary: of the only one that shows it; "" where all traffic does.
    """

    model: str
    signal: str
    text: str
    why: str
    detail: Mapping[str, Any]
    stable: str
    canary: str = ""

    @property
    def subject(self) -> str:
        """What has a cool-down of its own."""
        return f"{self.model}/{self.signal}/{self.canary}"


class Responder:
    """Of one server. now_ns: monotonic."""

    def __init__(self, driver: Driver, policy: DriftPolicy, now_ns: Callable[[], int]) -> None:
        self._driver = driver
        self.policy = policy
        self._now_ns = now_ns
        self._taken: dict[str, Taken] = {}  # the last, by subject
        self._home_s: dict[str, float] = {}  # when traffic last went home for the population's drift, by model

    async def respond(self, found: Finding) -> None:
        """Tells it, unless it was told lately, and does what the policy asks for."""
        taken = self._taken.get(found.subject)
        asked = decide(self.policy, found.signal, True, self._now_s(), [] if taken is None else [taken])
        if asked.response is not Response.OFF:
            self._note(found.subject, Taken(found.signal, asked.response, self._now_s()))
            self._driver.events.append(
                "drift", f"{found.text} {asked.why}", model=found.model, detail=dict(found.detail)
            )
        stable = self._driver.state(found.model).stable
        if self.policy.dry_run or stable is None or stable.digest != found.stable:
            return
        if asked.response is Response.ROLLBACK and self._driver.settings.lifecycle.auto_rollback:
            await self._go_home(found)
        if self.policy.response(found.signal) >= Response.HOLD:
            await self._hold(found)

    def take_up(self, model: str, signal: str, canary: str = "") -> None:
        """Another control process has told it: it is not told anew, and traffic does not go home a second time for the
        population's drift. What a canary was not taken home for yet, it is."""
        response = self.policy.response(signal)
        if signal == CANARY and response is Response.ROLLBACK:
            return
        self._note(f"{model}/{signal}/{canary}", Taken(signal, response, self._now_s()))
        if response is Response.ROLLBACK:
            self._home_s[model] = self._now_s()

    def alert(self, model: str, signal: str, text: str | None) -> None:
        """Stands until it is None. Without a figure: a text that changes would be told anew each time."""
        self._driver.alert(f"{ALERT_PREFIX}{model}: {signal}", text)

    def _now_s(self) -> float:
        return self._now_ns() / 1e9

    def _note(self, subject: str, taken: Taken) -> None:
        self._taken.pop(subject, None)
        self._taken[subject] = taken
        while len(self._taken) > TAKEN_MAX:
            del self._taken[next(iter(self._taken))]

    async def _go_home(self, found: Finding) -> None:
        """A canary that differs by itself leaves for good. The population's drift is no version's fault."""
        driver, (now_ns, at_utc) = self._driver, self._driver.now()
        if found.canary:
            why = found.why[:REASON_CHARACTERS]
            await driver.apply(
                found.model,
                events.Incident(now_ns=now_ns, at_utc=at_utc, digest=found.canary, detail=why, evidence=found.detail),
            )
            return
        last_s = self._home_s.get(found.model)
        lately = last_s is not None and 0 <= self._now_s() - last_s < max(self.policy.cool_down_s, HOME_S_MIN)
        if driver.state(found.model).frozen or lately:
            return
        self._home_s[found.model] = self._now_s()
        request = events.Rollback(
            now_ns=now_ns, at_utc=at_utc, operator=OPERATOR, reason=self._reason(found), request_id=""
        )
        try:
            await driver.apply(found.model, request)
        except Refused as refusal:
            log.info("nothing to go home to: %s", refusal, extra={"fields": {"model": found.model}})

    def _reason(self, found: Finding) -> str:
        given = self.policy.reason.strip()
        return f"{found.why[:REASON_CHARACTERS]}{f' Reason given for this: {given}' if given else ''}"

    async def _hold(self, found: Finding) -> None:
        """The plan of a rollout waits, until somebody resumes it. The journal remembers for what it has waited."""
        model = self._driver.state(found.model)
        canary = None if model.frozen else model.canary
        if canary is None or canary.paused:
            return
        request_id = f"{OPERATOR}/{CANARY if found.canary else POPULATION}/{canary.id}"
        if any(entry.get("request_id") == request_id for entry in self._driver.entries):
            return
        now_ns, at_utc = self._driver.now()
        reason = found.why[:REASON_CHARACTERS]
        request = events.Pause(now_ns=now_ns, at_utc=at_utc, operator=OPERATOR, reason=reason, request_id=request_id)
        try:
            await self._driver.apply(found.model, request)
        except Refused as refusal:
            log.info("no plan to hold: %s", refusal, extra={"fields": {"model": found.model}})
