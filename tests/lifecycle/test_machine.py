"""Random lives as rules, so that what breaks an invariant is shrunk to the few events that it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from server.lifecycle import events
from server.lifecycle.actions import Journal, StoreRoute
from server.lifecycle.decisions import STAYS
from server.lifecycle.events import Event
from server.lifecycle.plan import PPM
from server.lifecycle.refusal import Refused
from server.lifecycle.state import Artifact
from server.lifecycle.step import Outcome, step
from tests.lifecycle.histories import ARTIFACTS, PLANS, SECOND_NS, Broken, check, first_state

ARTIFACT = st.sampled_from(ARTIFACTS)
QUICK = settings(max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=2000, phases=[Phase.generate], derandomize=True, database=None)


class Life(RuleBasedStateMachine):
    """One model. Each rule is an event; after each, everything that must hold of a step is checked."""

    def __init__(self) -> None:
        super().__init__()
        self.model = first_state()
        self.now_ns = 0
        self.told: list[int] = []

    def decide(self, event: Event) -> Outcome:
        return step(self.model, event)

    def happens(self, kind: type[Event], **fields: Any) -> None:
        when = {"now_ns": self.now_ns, "at_utc": "2026-01-01T00:00:00Z"}
        if issubclass(kind, events.Request):
            when |= {"operator": "eva", "reason": "why", "request_id": "r"}  # type: ignore[dict-item]
        event = kind(**when, **fields)  # type: ignore[arg-type]
        before = self.model
        try:
            outcome = self.decide(event)
        except Refused:
            assert self.model == before
            return
        check(before, event, outcome)
        self.model, actions = outcome
        self.told += [one.entry["revision"] for one in actions if isinstance(one, Journal) and len(actions) > 1]
        routes = [one for one in actions if isinstance(one, StoreRoute)]
        assert all(one.model == self.model for one in routes), "what is published is what was decided"
        assert self.told == list(range(1, self.model.revision + 1)), "one entry a decision, none lost"

    @rule(seconds=st.integers(0, 400))
    def time_passes(self, seconds: int) -> None:
        self.now_ns += seconds * SECOND_NS
        self.happens(events.Tick)

    @rule(artifact=ARTIFACT, plan=st.sampled_from(PLANS))
    def deploy(self, artifact: Artifact, plan: Any) -> None:
        self.happens(events.DeployCanary, artifact=artifact, plan=plan, rollout_id="r", salt=1)

    @rule(weight_ppm=st.integers(-1, PPM + 1))
    def weight(self, weight_ppm: int) -> None:
        self.happens(events.SetWeight, weight_ppm=weight_ppm)

    @rule(artifact=st.none() | ARTIFACT)
    def shadow(self, artifact: Artifact | None) -> None:
        self.happens(events.SetShadow, artifact=artifact)

    @rule(kind=st.sampled_from((events.Promote, events.Rollback, events.Freeze, events.Unfreeze)))
    def operate(self, kind: type[Event]) -> None:
        self.happens(kind)

    @rule(kind=st.sampled_from((events.Pause, events.Resume)))
    def hold(self, kind: type[Event]) -> None:
        self.happens(kind)

    @rule(artifact=ARTIFACT)
    def quarantine(self, artifact: Artifact) -> None:
        self.happens(events.Quarantine, digest=artifact.digest)

    @precondition(lambda self: self.model.quarantine)
    @rule(choice=st.integers(0, 5))
    def release(self, choice: int) -> None:
        held = sorted(self.model.quarantine)
        self.happens(events.Release, digest=held[choice % len(held)])

    @rule(artifacts=st.lists(ARTIFACT, unique=True))
    def known(self, artifacts: list[Artifact]) -> None:
        self.happens(events.Known, artifacts=tuple(artifacts))

    @precondition(lambda self: self.model.needed.keys() - self.model.ready)
    @rule(works=st.booleans(), unavailable=st.booleans())
    def load_ends(self, works: bool, unavailable: bool) -> None:
        digest = min(self.model.needed.keys() - self.model.ready)
        if works:
            self.happens(events.Loaded, digest=digest)
        else:
            self.happens(events.LoadFailed, digest=digest, reason="no", unavailable=unavailable)

    @rule(artifact=ARTIFACT, works=st.booleans())
    def late_news(self, artifact: Artifact, works: bool) -> None:
        if works and artifact.digest in self.model.needed:
            return  # that is the rule above
        if works:
            self.happens(events.Loaded, digest=artifact.digest)
        else:
            self.happens(events.LoadFailed, digest=artifact.digest, reason="no")

    @precondition(lambda self: self.model.canary is not None)
    @rule(
        verdict=st.sampled_from(("worse", "not_worse", "wait")),
        requests=st.sampled_from((0, 10, 10_000)),
        withheld=st.sampled_from(("", "a setting says so")),
    )
    def judged(self, verdict: str, requests: int, withheld: str) -> None:
        assert self.model.canary is not None
        digest = self.model.canary.artifact.digest
        self.happens(events.Judged, digest=digest, verdict=verdict, requests=requests, withheld=withheld)

    @rule(artifact=ARTIFACT)
    def incident(self, artifact: Artifact) -> None:
        self.happens(events.Incident, digest=artifact.digest, detail="SIGSEGV")


class ForgetfulLife(Life):
    """With a last safe artifact, and a planted fault: a freeze, a pause or a shadow forgets it."""

    def __init__(self) -> None:
        super().__init__()
        safe = ARTIFACTS[1]
        self.model = replace(self.model, last_safe=safe, ready=self.model.ready | {safe.digest})

    def decide(self, event: Event) -> Outcome:
        after, actions = super().decide(event)
        if isinstance(event, events.Freeze | events.Pause | events.SetShadow):
            after = replace(after, last_safe=None)
            actions = tuple(
                StoreRoute(after, one.entry, one.urgent) if isinstance(one, StoreRoute) else one for one in actions
            )
        return after, actions


class ForgivingLife(Life):
    """With a canary, and a planted fault: that it was judged worse, and may not be taken back, is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.deploy(ARTIFACTS[1], PLANS[1])
        self.load_ends(works=True, unavailable=False)

    def decide(self, event: Event) -> Outcome:
        kept = frozenset(key for key in self.model.withheld if not key.startswith(STAYS))
        return step(replace(self.model, withheld=kept), event)


def test_every_life_keeps_its_invariants() -> None:
    run_state_machine_as_test(Life, settings=QUICK)


def test_a_planted_loss_of_last_safe_is_found() -> None:
    with pytest.raises(Broken, match="last safe artifact was lost"):
        run_state_machine_as_test(ForgetfulLife, settings=LONG)


def test_a_planted_share_for_what_is_worse_is_found() -> None:
    with pytest.raises(Broken, match="was judged worse"):
        run_state_machine_as_test(ForgivingLife, settings=LONG)
