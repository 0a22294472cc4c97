"""When a plan goes on, and when it must not."""

from __future__ import annotations

from typing import Any

import pytest

from server.lifecycle import events
from server.lifecycle.actions import Journal
from server.lifecycle.events import Event
from server.lifecycle.plan import Plan, Step
from server.lifecycle.state import ModelState
from server.lifecycle.step import step
from tests.lifecycle.histories import ARTIFACTS, SECOND_NS, first_state

TWO = ARTIFACTS[1]
PLAN = Plan((Step(50_000, bake_s=10, minimum_requests=100), Step(500_000, bake_s=10, minimum_requests=100)))


def at(seconds: float) -> dict[str, Any]:
    return {"now_ns": round(seconds * SECOND_NS), "at_utc": "2026-01-01T00:00:00Z"}


def who(seconds: float) -> dict[str, Any]:
    return at(seconds) | {"operator": "eva", "reason": "why", "request_id": "r"}


def run(model: ModelState, *happened: Event) -> ModelState:
    for event in happened:
        model, _ = step(model, event)
    return model


def judged(verdict: str, seconds: float, requests: int = 100, withheld: str = "") -> Event:
    return events.Judged(digest=TWO.digest, verdict=verdict, requests=requests, withheld=withheld, **at(seconds))


def on_trial() -> ModelState:
    return run(
        first_state(),
        events.DeployCanary(artifact=TWO, plan=PLAN, rollout_id="r", salt=5, **who(0)),
        events.Loaded(digest=TWO.digest, **at(0)),
    )


def test_a_worse_verdict_that_a_freeze_withheld_never_lets_the_plan_go_on() -> None:
    model = run(on_trial(), events.Freeze(**who(1)), judged("worse", 11))
    model = run(model, events.Unfreeze(**who(12)), events.Tick(**at(13)))
    assert model.canary is None
    assert TWO.digest in model.quarantine


OFF = "automatic rollback is off"


def test_a_canary_that_is_worse_and_may_not_be_taken_back_stays_at_its_weight_and_is_said_once() -> None:
    model, actions = step(on_trial(), judged("worse", 11, withheld=OFF))
    (note,) = (action.entry for action in actions if isinstance(action, Journal))
    assert note["kind"] == "withheld"
    assert note["evidence"]["withheld"] == (
        f"taking {TWO.digest[:12]} back, since {OFF}: judged to be worse than the stable beside it"
    )
    assert (model.revision, model.quarantine) == (on_trial().revision, {})
    for later in (judged("worse", 20, withheld=OFF), events.Tick(**at(30)), judged("worse", 40, withheld=OFF)):
        model, actions = step(model, later)
        assert (model.weight_ppm, actions) == (50_000, ())


@pytest.mark.parametrize("verdict", ["wait", "not_worse"])
def test_a_plan_that_a_worse_verdict_has_stopped_goes_on_when_an_operator_says_so(verdict: str) -> None:
    model = run(on_trial(), judged("worse", 11, withheld=OFF), judged(verdict, 20, withheld=OFF))
    assert model.weight_ppm == 50_000
    model = run(model, events.Freeze(**who(21)), events.Unfreeze(**who(22)), judged(verdict, 23, withheld=OFF))
    assert model.weight_ppm == 50_000
    model = run(model, events.Pause(**who(24)), events.Resume(**who(25)), judged(verdict, 35, withheld=OFF))
    assert model.weight_ppm == 500_000


def test_a_worse_canary_is_not_promoted_by_a_plan_that_may_not_take_it_back() -> None:
    model = run(on_trial(), judged("not_worse", 10), judged("worse", 30, withheld=OFF))
    model = run(model, judged("worse", 60, withheld=OFF), judged("not_worse", 90, withheld=OFF))
    assert model.canary is not None
    assert run(model, events.Rollback(**who(91))).withheld == frozenset(), "the next one begins anew"


def test_what_a_crash_left_behind_goes_home_although_verdicts_are_not_acted_on() -> None:
    crash = events.Incident(digest=TWO.digest, detail="SIGSEGV", **at(2))
    model = run(on_trial(), events.Freeze(**who(1)), crash, events.Unfreeze(**who(3)))
    assert run(model, judged("worse", 4, withheld=OFF)).canary is None


def test_a_step_that_has_lasted_goes_on_by_time_alone_once_its_requests_are_there() -> None:
    model = run(on_trial(), judged("wait", 9))
    assert model.weight_ppm == 50_000
    assert run(model, events.Tick(**at(10))).weight_ppm == 500_000


def test_the_next_step_needs_its_own_time_and_its_own_requests() -> None:
    model = run(on_trial(), judged("not_worse", 10))
    assert run(model, events.Tick(**at(60))).canary is not None, "no requests yet"
    assert run(model, judged("not_worse", 19)).canary is not None, "no time yet"
    assert run(model, judged("not_worse", 20)).stable == TWO


@pytest.mark.parametrize("weight_ppm", [0, 700_000])
def test_a_resumed_plan_begins_its_step_again(weight_ppm: int) -> None:
    model = run(on_trial(), events.SetWeight(weight_ppm=weight_ppm, **who(5)), events.Resume(**who(100)))
    assert model.weight_ppm == 50_000
    assert run(model, judged("not_worse", 109)).weight_ppm == 50_000
    assert run(model, judged("not_worse", 110)).weight_ppm == 500_000


def test_a_paused_plan_still_goes_home() -> None:
    model = run(on_trial(), events.Pause(**who(1)), judged("not_worse", 100))
    assert model.weight_ppm == 50_000
    assert run(model, judged("worse", 101)).canary is None


def test_a_step_that_a_freeze_withheld_is_said_once_and_taken_after_it() -> None:
    model = run(on_trial(), events.Freeze(**who(1)))
    model, actions = step(model, judged("wait", 10))
    assert model.weight_ppm == 50_000
    assert [action.entry["evidence"]["withheld"] for action in actions if isinstance(action, Journal)] == [
        "the plan's next step"
    ]
    assert step(model, events.Tick(**at(11)))[1] == ()
    assert run(model, events.Unfreeze(**who(12)), events.Tick(**at(13))).weight_ppm == 500_000


def test_nothing_but_going_home_is_said_to_be_withheld_of_a_canary_that_is_worse() -> None:
    model = run(on_trial(), events.Freeze(**who(1)), judged("worse", 11))
    assert step(model, events.Tick(**at(12)))[1] == ()


def test_a_promotion_that_a_freeze_withheld_is_made_after_it() -> None:
    model = run(on_trial(), judged("not_worse", 10), events.Freeze(**who(11)), judged("not_worse", 30))
    assert model.canary is not None
    assert run(model, events.Unfreeze(**who(31)), judged("not_worse", 32)).stable == TWO
