"""What serves when the stable has to go: something safe while there is any, never what is bad or not loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from server.lifecycle import events
from server.lifecycle.actions import Load, StoreRoute, Unload
from server.lifecycle.events import Event
from server.lifecycle.plan import constant
from server.lifecycle.refusal import Refused
from server.lifecycle.state import Artifact, ModelState
from server.lifecycle.step import step
from tests.lifecycle.histories import ARTIFACTS, first_state

ONE, TWO, THREE = ARTIFACTS[:3]
WHEN: dict[str, Any] = {"now_ns": 0, "at_utc": "2026-01-01T00:00:00Z"}
WHO: dict[str, Any] = WHEN | {"operator": "eva", "reason": "a new model", "request_id": "r1"}
KNOWN = events.Known(artifacts=(THREE, TWO, ONE), **WHEN)


def run(model: ModelState, *happened: Event) -> ModelState:
    for event in happened:
        model, _ = step(model, event)
    return model


def deploy(artifact: Artifact) -> Event:
    return events.DeployCanary(artifact=artifact, plan=constant(50_000), rollout_id="r", salt=5, **WHO)


def loaded(artifact: Artifact) -> Event:
    return events.Loaded(digest=artifact.digest, **WHEN)


def quarantine(artifact: Artifact) -> Event:
    return events.Quarantine(digest=artifact.digest, **WHO)


def crash(artifact: Artifact) -> Event:
    return events.Incident(digest=artifact.digest, detail="SIGSEGV", **WHEN)


def test_what_is_loaded_already_takes_over_from_a_stable_that_must_go_in_the_same_decision() -> None:
    on_trial = run(first_state(), KNOWN, deploy(THREE), loaded(THREE))
    model, actions = step(on_trial, quarantine(ONE))
    assert (model.stable, model.canary, model.coming) == (THREE, None, None)
    assert model.revision == on_trial.revision + 1
    assert not any(isinstance(action, Load) for action in actions)
    assert [action.artifact for action in actions if isinstance(action, Unload)] == [ONE]


def test_a_loaded_shadow_takes_over_and_is_a_shadow_no_more() -> None:
    model = run(first_state(), KNOWN, events.SetShadow(artifact=THREE, **WHO), loaded(THREE), quarantine(ONE))
    assert (model.stable, model.shadow, model.shadow_started) == (THREE, None, False)


def test_what_is_released_while_nothing_serves_and_is_loaded_serves_at_once() -> None:
    alone = replace(first_state(), known=(ONE,))
    model = run(alone, quarantine(ONE))
    assert (model.stable, model.coming) == (None, None)
    model = run(model, events.Release(digest=ONE.digest, **WHO))
    assert model.coming == ONE, "it had left the workers"
    assert run(model, loaded(ONE)).stable == ONE


def test_a_last_safe_that_is_loaded_serves_at_once_and_one_that_is_not_is_loaded_first() -> None:
    promoted = run(first_state(), KNOWN, deploy(TWO), loaded(TWO), events.Promote(**WHO))
    model = run(promoted, quarantine(TWO))
    assert (model.stable, model.last_safe, model.coming) == (ONE, None, None)
    restarted = replace(promoted, ready=frozenset({TWO.digest}))
    model = run(restarted, quarantine(TWO))
    assert (model.stable, model.last_safe, model.coming) == (None, None, ONE), "the last safe, and not the newest"


def test_what_is_coming_and_is_quarantined_is_followed_by_the_next() -> None:
    model = run(first_state(), KNOWN, quarantine(ONE))
    assert model.coming == THREE
    model, actions = step(model, quarantine(THREE))
    assert model.coming == TWO
    assert Load(TWO) in actions


def unavailable(artifact: Artifact) -> Event:
    return events.LoadFailed(digest=artifact.digest, reason="the registry is down", unavailable=True, **WHEN)


def test_what_could_not_be_fetched_has_its_turn_again_after_the_others() -> None:
    model = run(first_state(), KNOWN, quarantine(ONE))
    assert model.coming == THREE
    for following in (TWO, THREE, TWO):
        assert model.coming is not None
        model, actions = step(model, unavailable(model.coming))
        assert model.coming == following
        assert Load(following) in actions
        assert set(model.known) == {ONE, TWO, THREE}
    assert run(model, loaded(TWO)).stable == TWO


def test_what_could_not_be_fetched_and_is_all_there_is_goes_on_coming_without_another_entry() -> None:
    model = run(replace(first_state(), known=(TWO, ONE)), quarantine(ONE))
    model, actions = step(model, unavailable(TWO))
    assert (model.coming, actions) == (TWO, (Load(TWO),))
    assert run(model, loaded(TWO)).stable == TWO


def test_what_could_not_be_fetched_goes_on_coming_through_a_freeze() -> None:
    model = run(first_state(), KNOWN, quarantine(ONE), events.Freeze(**WHO))
    model, actions = step(model, unavailable(THREE))
    assert (model.coming, actions) == (THREE, (Load(THREE),))


def test_a_last_safe_that_was_coming_and_could_not_be_fetched_is_known_from_then_on() -> None:
    promoted = run(first_state(), events.Known(artifacts=(TWO,), **WHEN), deploy(TWO), loaded(TWO))
    restarted = replace(run(promoted, events.Promote(**WHO)), ready=frozenset({TWO.digest}))
    model = run(restarted, quarantine(TWO), unavailable(ONE))
    assert (model.coming, model.known) == (ONE, (TWO, ONE))


def test_a_shadow_serves_at_once_when_it_becomes_known_that_nothing_else_could() -> None:
    lonely = replace(first_state(), known=(ONE,))
    model = run(lonely, events.SetShadow(artifact=TWO, **WHO), loaded(TWO), quarantine(ONE))
    assert model.stable is None
    model, actions = step(model, KNOWN)
    assert model.coming == THREE, "the newest comes first, loaded or not"
    model, actions = step(replace(model, coming=None), events.Known(artifacts=(TWO, ONE), **WHEN))
    assert model.stable == TWO
    assert isinstance(actions[0], StoreRoute)
    assert actions[0].entry["kind"] == "stable_restored"


def test_what_was_coming_and_can_not_be_loaded_has_no_successor_while_frozen() -> None:
    model = run(first_state(), KNOWN, quarantine(ONE), events.Freeze(**WHO))
    model = run(model, events.LoadFailed(digest=THREE.digest, reason="damaged", **WHEN))
    assert model.coming is None
    assert run(model, events.Unfreeze(**WHO), events.Tick(**WHEN)).coming == TWO


def test_a_last_safe_that_is_deployed_again_has_its_weight_at_once() -> None:
    promoted = run(first_state(), deploy(TWO), loaded(TWO), events.Promote(**WHO))
    model, actions = step(promoted, deploy(ONE))
    assert model.weight_ppm == 50_000
    assert not any(isinstance(action, Load) for action in actions)


def test_a_shadow_that_is_promoted_is_a_shadow_no_more() -> None:
    model = run(first_state(), events.SetShadow(artifact=TWO, **WHO), deploy(TWO), loaded(TWO))
    assert model.shadow_started
    assert model.weight_ppm == 50_000, "it may run unseen and take traffic at once"
    assert run(model, events.Promote(**WHO)).shadow is None


def test_a_last_safe_that_is_not_loaded_yet_is_no_place_to_roll_back_to() -> None:
    restarted = replace(first_state(), stable=TWO, last_safe=ONE, ready=frozenset({TWO.digest}))
    with pytest.raises(Refused, match="loaded"):
        step(restarted, events.Rollback(**WHO))
    assert run(restarted, loaded(ONE), events.Rollback(**WHO)).stable == ONE


def test_a_last_safe_that_can_not_be_loaded_is_said_and_is_no_place_to_roll_back_to() -> None:
    promoted = run(first_state(), deploy(TWO), loaded(TWO), events.Promote(**WHO))
    model, actions = step(promoted, events.LoadFailed(digest=ONE.digest, reason="no memory", **WHEN))
    assert [action.entry["kind"] for action in actions] == ["incident"]  # type: ignore[union-attr]
    assert model.last_safe == ONE, "it may be loaded again"
    with pytest.raises(Refused, match="loaded"):
        step(model, events.Rollback(**WHO))


def test_a_stable_that_crashes_again_and_again_without_a_last_safe_gives_way_to_the_newest_known() -> None:
    model = run(first_state(), KNOWN, crash(ONE), crash(ONE))
    assert model.stable == ONE
    model, actions = step(model, crash(ONE))
    assert (model.stable, model.coming) == (None, THREE)
    assert isinstance(actions[0], StoreRoute)
    assert run(model, loaded(THREE)).stable == THREE


def test_a_stable_that_crashes_and_is_all_there_is_goes_on_serving() -> None:
    model = run(first_state(), *[crash(ONE)] * 9)
    assert model.stable == ONE
    assert model.quarantine == {}


def test_nothing_is_brought_back_by_itself_while_frozen_and_all_is_afterwards() -> None:
    empty = run(first_state(), quarantine(ONE), events.Freeze(**WHO))
    model, actions = step(empty, KNOWN)
    assert model.coming is None
    assert [action.entry["kind"] for action in actions] == ["withheld"]  # type: ignore[union-attr]
    assert step(model, KNOWN)[1] == ()
    model = run(model, events.Unfreeze(**WHO), events.Tick(**WHEN))
    assert model.coming == THREE


@pytest.mark.parametrize(
    "following",
    [events.Tick(**WHEN), events.Judged(digest=TWO.digest, verdict="not_worse", requests=10_000, **WHEN)],
)
def test_a_crash_of_the_canary_while_frozen_is_acted_upon_after_the_freeze(following: Event) -> None:
    model = run(first_state(), deploy(TWO), loaded(TWO), events.Freeze(**WHO), crash(TWO))
    assert model.canary is not None
    model = run(model, events.Unfreeze(**WHO), following)
    assert model.canary is None
    assert TWO.digest in model.quarantine


def test_a_canary_that_left_while_frozen_is_not_held_against_its_successor_or_itself() -> None:
    model = run(first_state(), deploy(TWO), loaded(TWO), events.Freeze(**WHO), crash(TWO), events.Rollback(**WHO))
    model = run(model, events.Unfreeze(**WHO), deploy(THREE), loaded(THREE), events.Tick(**WHEN))
    assert model.canary is not None
    assert model.canary.artifact == THREE
