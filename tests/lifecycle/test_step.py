"""The machine: single stories, and random histories against what must always hold."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.lifecycle import events
from server.lifecycle.actions import Journal, Load, StoreRoute, Unload
from server.lifecycle.events import Event
from server.lifecycle.phases import Phase, phase_of
from server.lifecycle.plan import PPM, Plan, Promotion, Step, constant
from server.lifecycle.refusal import Refused
from server.lifecycle.state import ModelState
from server.lifecycle.step import HANDLERS, step
from tests.lifecycle.histories import ARTIFACTS, SECOND_NS, Broken, check, first_state, random_event

ONE, TWO, THREE = ARTIFACTS[:3]
WHEN: dict[str, Any] = {"now_ns": 0, "at_utc": "2026-01-01T00:00:00Z"}
WHO: dict[str, Any] = WHEN | {"operator": "eva", "reason": "a new model", "request_id": "r1"}
QUICK = Plan((Step(50_000, bake_s=10, minimum_requests=100), Step(500_000)))


def run(model: ModelState, *happened: Event) -> ModelState:
    for event in happened:
        model, _ = step(model, event)
    return model


def deployed(plan: Plan = QUICK, model: ModelState | None = None) -> ModelState:
    """Version 2 on trial beside version 1."""
    return run(
        model or first_state(),
        events.DeployCanary(artifact=TWO, plan=plan, rollout_id="r", salt=5, **WHO),
        events.Loaded(digest=TWO.digest, **WHEN),
    )


def judged(verdict: str, requests: int = 1000, seconds: float = 60.0) -> Event:
    when = WHEN | {"now_ns": round(seconds * SECOND_NS)}
    return events.Judged(digest=TWO.digest, verdict=verdict, requests=requests, **when)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 120))
def test_whatever_happens_the_invariants_hold(seed: int, length: int) -> None:
    random = Random(seed)
    model, now_ns = first_state(), 0
    for _ in range(length):
        now_ns += random.choice((0, SECOND_NS // 10, 2 * SECOND_NS))
        event = random_event(random, now_ns)
        try:
            outcome = step(model, event)
        except Refused:
            continue
        check(model, event, outcome)
        model = outcome[0]


def _loses_last_safe(model: ModelState, event: Event) -> Any:
    after, actions = step(model, event)
    return (replace(after, last_safe=None) if isinstance(event, events.Freeze) else after), actions


def _serves_the_quarantined(model: ModelState, event: Event) -> Any:
    after, actions = step(model, event)
    return (replace(after, stable=model.stable) if isinstance(event, events.Quarantine) else after), actions


def _forgets_an_entry(model: ModelState, event: Event) -> Any:
    after, actions = step(model, event)
    if isinstance(event, events.Rollback):
        actions = tuple(action for action in actions if not isinstance(action, Journal))
    return after, actions


@pytest.mark.parametrize("planted", [_loses_last_safe, _serves_the_quarantined, _forgets_an_entry])
def test_a_planted_fault_is_found(planted: Any) -> None:
    found = False
    for seed in range(200):
        random = Random(seed)
        model, now_ns = first_state(), 0
        for _ in range(150):
            now_ns += SECOND_NS
            event = random_event(random, now_ns)
            try:
                outcome = planted(model, event)
                check(model, event, outcome)
            except Refused:
                continue
            except Broken:
                found = True
                break
            model = outcome[0]
    assert found


def test_every_event_has_a_handler() -> None:
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)}
    assert set(HANDLERS) == kinds - {events.Event, events.Request}


def test_a_canary_gets_no_traffic_before_every_worker_has_it() -> None:
    model, actions = step(first_state(), events.DeployCanary(artifact=TWO, plan=QUICK, rollout_id="r", salt=5, **WHO))
    assert model.weight_ppm == 0
    assert Load(TWO) in actions
    model, actions = step(model, events.Loaded(digest=TWO.digest, **WHEN))
    assert model.weight_ppm == 50_000
    assert isinstance(actions[0], StoreRoute)


def test_a_plan_goes_on_only_after_its_time_and_its_requests_and_ends_in_promotion() -> None:
    model = deployed()
    assert run(model, judged("not_worse", requests=99)).canary.step == 0  # type: ignore[union-attr]
    assert run(model, judged("not_worse", seconds=9)).canary.step == 0  # type: ignore[union-attr]
    model = run(model, judged("wait"))
    assert model.weight_ppm == 500_000
    assert run(model, judged("wait")).stable == ONE, "a promotion needs evidence that it is not worse"
    model = run(model, judged("not_worse"))
    assert (model.stable, model.last_safe, model.canary) == (TWO, ONE, None)


def test_an_approved_promotion_waits_for_an_operator() -> None:
    model = run(deployed(Plan((Step(50_000),), Promotion.APPROVED)), judged("not_worse"))
    assert model.stable == ONE
    assert model.canary is not None
    assert model.canary.awaits_approval
    assert run(model, events.Promote(**WHO)).stable == TWO


def test_a_canary_that_is_worse_goes_home_into_quarantine_with_the_evidence() -> None:
    event = replace(judged("worse"), evidence={"errors": 7})
    model, actions = step(deployed(), event)
    assert (model.stable, model.canary, model.weight_ppm) == (ONE, None, 0)
    assert TWO.digest in model.quarantine
    assert isinstance(actions[0], StoreRoute)
    assert actions[0].urgent
    assert actions[0].entry["evidence"] == {"errors": 7}
    assert Unload(TWO) in actions
    with pytest.raises(Refused, match="in quarantine"):
        step(model, events.DeployCanary(artifact=TWO, plan=QUICK, rollout_id="r", salt=5, **WHO))
    released = run(model, events.Release(digest=TWO.digest, **WHO))
    assert deployed(model=released).canary is not None


def test_late_news_of_a_canary_that_is_gone_changes_nothing() -> None:
    model = run(deployed(), events.Rollback(**WHO))
    assert step(model, judged("worse")) == (model, ())


def test_a_frozen_model_does_nothing_by_itself_and_says_so_once() -> None:
    model = run(deployed(), events.Freeze(**WHO))
    model, actions = step(model, judged("worse"))
    assert model.canary is not None
    assert [action.entry["kind"] for action in actions if isinstance(action, Journal)] == ["withheld"]
    assert step(model, judged("worse"))[1] == ()
    model = run(model, events.Unfreeze(**WHO), judged("worse"))
    assert model.canary is None


@pytest.mark.parametrize("event", [events.Incident(digest=TWO.digest, detail="SIGSEGV", **WHEN)])
def test_a_canary_that_crashes_a_worker_goes_home(event: Event) -> None:
    model = run(deployed(), event)
    assert (model.canary, model.stable) == (None, ONE)
    assert model.quarantine == {TWO.digest: "SIGSEGV"}


def test_a_stable_goes_home_after_three_crashes_in_five_minutes_only() -> None:
    model = run(deployed(), events.Promote(**WHO))

    def crash(seconds: float) -> Event:
        return events.Incident(digest=TWO.digest, detail="SIGSEGV", **(WHEN | {"now_ns": round(seconds * SECOND_NS)}))

    slow = run(model, crash(0), crash(200), crash(400), crash(600))
    assert slow.stable == TWO
    model = run(model, crash(0), crash(10), crash(20))
    assert (model.stable, model.last_safe) == (ONE, None)
    assert TWO.digest in model.quarantine
    lonely = run(first_state(), *(replace(crash(at), digest=ONE.digest) for at in range(5)))
    assert lonely.stable == ONE, "there is nowhere to go"


def test_a_quarantined_stable_is_not_served_although_it_is_all_there_is() -> None:
    model, actions = step(first_state(), events.Quarantine(digest=ONE.digest, **WHO))
    assert (model.stable, model.coming) == (None, None)
    assert isinstance(actions[0], StoreRoute)
    model, actions = step(model, events.Known(artifacts=(THREE, ONE), **WHEN))
    assert model.coming == THREE, "the newest that is not in quarantine"
    assert Load(THREE) in actions
    assert run(model, events.Loaded(digest=THREE.digest, **WHEN)).stable == THREE


def test_what_was_to_be_stable_and_can_not_be_loaded_is_followed_by_the_next() -> None:
    model = run(
        first_state(),
        events.Known(artifacts=(THREE, TWO, ONE), **WHEN),
        events.Quarantine(digest=ONE.digest, **WHO),
        events.LoadFailed(digest=THREE.digest, reason="damaged", **WHEN),
        events.Loaded(digest=TWO.digest, **WHEN),
    )
    assert model.stable == TWO


def test_a_rollback_without_a_canary_goes_to_the_last_safe() -> None:
    model = run(deployed(), events.Promote(**WHO), events.Rollback(**WHO))
    assert (model.stable, model.last_safe) == (ONE, None)
    with pytest.raises(Refused, match="neither"):
        step(model, events.Rollback(**WHO))


def test_a_weight_set_by_an_operator_pauses_the_plan_until_it_is_resumed() -> None:
    model = run(deployed(), events.SetWeight(weight_ppm=PPM, **WHO))
    assert model.weight_ppm == PPM
    assert run(model, judged("not_worse")).stable == ONE
    model = run(model, events.Resume(**WHO))
    assert model.weight_ppm == 50_000


@pytest.mark.parametrize(
    ("model", "event", "words"),
    [
        (first_state(), events.SetWeight(weight_ppm=1, **WHO), "expected a canary, got none"),
        (deployed(), events.SetWeight(weight_ppm=PPM + 1, **WHO), "expected 0 to 100 %"),
        (first_state(), events.Promote(**WHO), "expected a canary, got none"),
        (deployed(), events.DeployCanary(artifact=THREE, plan=QUICK, rollout_id="r", salt=1, **WHO), "no canary under"),
        (
            first_state(),
            events.DeployCanary(artifact=ONE, plan=QUICK, rollout_id="r", salt=1, **WHO),
            "another artifact",
        ),
        (first_state(), events.Release(digest=ONE.digest, **WHO), "expected one in quarantine"),
        (first_state(), events.Unfreeze(**WHO), "expected one that is frozen"),
        (first_state(), events.SetShadow(artifact=None, **WHO), "a shadow to lift"),
        (deployed(), events.Resume(**WHO), "a plan that is paused"),
        (run(deployed(), events.Pause(**WHO)), events.Pause(**WHO), "a plan that goes on"),
        (run(first_state(), events.Freeze(**WHO)), events.Freeze(**WHO), "one that is not frozen"),
        (first_state(), events.SetShadow(artifact=ONE, **WHO), "another artifact than the stable's"),
        (
            run(first_state(), events.Quarantine(digest=TWO.digest, **WHO)),
            events.Quarantine(digest=TWO.digest, **WHO),
            "one that is not in quarantine",
        ),
        (
            run(first_state(), events.Quarantine(digest=TWO.digest, **WHO)),
            events.SetShadow(artifact=TWO, **WHO),
            "an artifact that is not in quarantine",
        ),
    ],
)
def test_what_can_not_be_done_is_refused_with_what_to_do(model: ModelState, event: Event, words: str) -> None:
    with pytest.raises(Refused) as refused:
        step(model, event)
    assert words in str(refused.value)
    assert refused.value.hint.endswith(".") or refused.value.hint.startswith("Deploy another")


def test_an_operator_and_the_reason_are_in_the_entry() -> None:
    _, actions = step(first_state(), events.DeployCanary(artifact=TWO, plan=constant(1), rollout_id="r", salt=5, **WHO))
    entry = next(action.entry for action in actions if isinstance(action, Journal))
    assert (entry["operator"], entry["reason"], entry["request_id"]) == ("eva", "a new model", "r1")
    assert entry["to"]["canary"] == {"version": "2", "digest": TWO.digest}


def test_a_shadow_runs_once_it_is_loaded_and_is_no_canary() -> None:
    model, actions = step(first_state(), events.SetShadow(artifact=TWO, **WHO))
    assert not model.shadow_started
    assert Load(TWO) in actions
    model = run(model, events.Loaded(digest=TWO.digest, **WHEN))
    assert model.shadow_started
    assert model.weight_ppm == 0
    assert phase_of(model, TWO.digest) is Phase.SHADOW
