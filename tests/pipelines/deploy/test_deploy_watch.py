"""What has become of a canary: planted sequences of decisions, and what must be read off them."""

from __future__ import annotations

import json
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.deploy import watch
from pipelines.deploy.watch import Decision, End, Trial, described, is_missed, late, lost, noted, place, told
from protos.roost.v1 import admin_pb2
from tests.pipelines.deploy.planted_decisions import (
    ADVANCED,
    BEGUN,
    BY_ITSELF,
    CANARY,
    DEPLOYED,
    DIFFERS,
    FIRST,
    HELD,
    HOME,
    LOADING,
    PROMOTED,
    SECOND,
    STARTED,
    STEPS,
    decision,
    line,
    places,
    state,
    trial,
)

OTHER = "d" * 64


def after(*decisions: Decision, start: Trial | None = None) -> Trial:
    return reduce(told, decisions, start or trial())


def test_a_plan_that_goes_its_way_is_followed_step_by_step_and_ends_promoted() -> None:
    assert after(DEPLOYED).phase == "loading"
    begun = after(DEPLOYED, STARTED)
    assert (begun.phase, begun.step, begun.weight_ppm) == ("canary", 0, 250_000)
    second = after(*BEGUN)
    assert (second.step, second.weight_ppm, second.ending) == (1, 500_000, None)
    ending = after(*BEGUN, BY_ITSELF).ending
    assert ending is not None
    assert (ending.end, ending.by) == (End.PROMOTED, "")


def test_a_canary_that_is_worse_ends_rolled_back_in_the_servers_words() -> None:
    ending = after(DEPLOYED, STARTED, HOME).ending
    assert ending is not None
    assert (ending.end, ending.by, ending.theirs) == (End.ROLLED_BACK, "", False)
    assert ending.reason == HOME.text
    assert "judged to be worse" in Decision(HOME.entry).words  # where only the journal told of it


def test_a_version_that_no_worker_loads_is_refused_with_the_failure() -> None:
    refused = decision(4, "canary_refused", LOADING, places(), evidence={"failure": "golden example 0 is off"})
    ending = after(DEPLOYED, Decision(refused.entry)).ending
    assert ending is not None
    assert ending.end is End.REFUSED
    assert "golden example 0 is off" in ending.reason


def test_a_plan_that_waits_for_drift_is_held_with_its_reason() -> None:
    ending = after(*BEGUN, HELD).ending
    assert ending is not None
    assert (ending.end, ending.reason, ending.theirs) == (End.HELD, DIFFERS, False)


def test_drift_that_takes_traffic_home_is_the_servers_own_decision() -> None:
    back = decision(6, "rolled_back", SECOND, places(), operator="roost drift", reason="inputs have drifted")
    ending = after(*BEGUN, back).ending
    assert ending is not None
    assert (ending.end, ending.by) == (End.ROLLED_BACK, "")


@pytest.mark.parametrize(
    ("kind", "to", "end"),
    [
        ("promoted", PROMOTED, End.PROMOTED),
        ("rolled_back", places(), End.ROLLED_BACK),
        ("quarantined", places(), End.ROLLED_BACK),
    ],
)
def test_what_an_operator_ends_by_hand_ends_under_their_name(kind: str, to: dict[str, object], end: End) -> None:
    ending = after(*BEGUN, decision(6, kind, SECOND, to, operator="ada", reason="a complaint")).ending
    assert ending is not None
    assert (ending.end, ending.by) == (end, "ada")


@pytest.mark.parametrize("kind", ["paused", "weight_set"])
def test_a_plan_that_an_operator_has_taken_over_waits_and_is_theirs_when_time_is_over(kind: str) -> None:
    waiting = after(*BEGUN, decision(6, kind, SECOND, FIRST, operator="ada", reason="over lunch"))
    assert waiting.ending is None
    assert "over lunch" in waiting.waits
    ending = late(waiting, 30).ending
    assert ending is not None
    assert (ending.end, ending.by, ending.theirs) == (End.HELD, "ada", True)


def test_a_plan_that_is_resumed_is_nobodys_again() -> None:
    paused = decision(6, "paused", SECOND, SECOND, operator="ada", reason="over lunch")
    resumed = decision(7, "resumed", SECOND, SECOND, operator="ada", reason="back")
    going_on = after(*BEGUN, paused, resumed)
    assert (going_on.waits, going_on.by_hand) == ("", "")
    ending = after(decision(8, "promoted", SECOND, PROMOTED), start=going_on).ending
    assert ending is not None
    assert ending.end is End.PROMOTED


def test_a_freeze_is_said_when_time_is_over_and_the_canary_is_still_ours_to_take_back() -> None:
    frozen = after(*BEGUN, decision(6, "frozen", SECOND, SECOND, operator="bob", reason="the upstream moves"))
    ending = late(frozen, 30).ending
    assert ending is not None
    assert "the upstream moves" in ending.reason
    assert not ending.theirs
    assert after(decision(7, "unfrozen", SECOND, SECOND, operator="bob"), start=frozen).frozen_by == ""


def test_a_stable_that_has_to_go_takes_the_trial_with_it() -> None:
    gone = decision(6, "went_home", SECOND, {**places(), "stable": None})
    ending = after(*BEGUN, gone).ending
    assert ending is not None
    assert ending.end is End.ROLLED_BACK


def test_decisions_about_others_end_nothing_and_count_as_known() -> None:
    shadow = decision(3, "shadow_set", places(), places(), operator="ada", reason="to look")
    seen = after(shadow)
    assert (seen.revision, seen.decisions, seen.ending) == (3, (), None)


def test_what_was_decided_before_it_was_deployed_is_no_news() -> None:
    assert after(HOME, start=trial(revision=7)) == trial(revision=7)


@given(st.lists(st.integers(0, 3), max_size=6))
def test_decisions_told_again_or_late_change_nothing(repeats: list[int]) -> None:
    sequence = [DEPLOYED, STARTED, ADVANCED, BY_ITSELF]
    noisy: list[Decision] = []
    for position, one in enumerate(sequence):
        noisy.append(one)
        noisy += [sequence[again] for again in repeats if again <= position]
    assert after(*noisy) == after(*sequence)


def test_a_trial_that_has_ended_stays_as_it_ended() -> None:
    ended = after(DEPLOYED, STARTED, HOME)
    again = decision(9, "promoted", SECOND, PROMOTED)
    look = described(ended, state(9, CANARY, phase="canary", step=1))
    assert told(ended, again) == ended == late(ended, 1) == lost(ended, "gone.") == look
    assert noted(ended, admin_pb2.Event(kind="drift", text="inputs")) == ended


def test_a_look_tells_requests_and_verdict_and_an_old_one_nothing() -> None:
    steps = [admin_pb2.PlanStep(weight_ppm=250_000, bake_s=5, minimum_requests=1500)]
    seen = state(5, CANARY, steps=steps, phase="canary", step=0, requests=1203, verdict="not_worse", step_elapsed_s=4.0)
    seen.weight_ppm = 250_000
    known = described(after(DEPLOYED, STARTED), seen)
    assert (known.requests, known.verdict, known.steps) == (1203, "not_worse", STEPS[:1])
    assert place(known) == "step 1 of 1, 25 %, with 1,203 of 1,500 requests and 4 of 5 s"
    assert described(after(*BEGUN), state(4, CANARY, requests=9)) == after(*BEGUN)
    assert described(known, state(6, OTHER, requests=9)) == known


def test_a_decision_that_nobody_told_of_shows_at_the_next_look() -> None:
    running = after(*BEGUN)
    assert is_missed(running, state(6, stable=CANARY))
    assert not is_missed(running, state(5, CANARY))
    assert not is_missed(running, state(5))  # the look is older than the decisions that are known


def test_a_server_that_went_away_leaves_the_canary_to_whoever_finds_it() -> None:
    ending = lost(after(*BEGUN), "The server ended with code -9.").ending
    assert ending is not None
    assert (ending.end, ending.theirs) == (End.HELD, True)
    assert ending.reason.startswith("The server ended with code -9. Nothing was promoted by then")


def test_being_late_says_how_far_it_was_and_what_it_waited_for() -> None:
    ending = late(after(DEPLOYED), 600).ending
    assert ending is not None
    assert ending.reason == "it was not decided within 600 s: version 2 was still being loaded."


def test_what_a_drift_event_says_is_kept() -> None:
    seen = noted(after(*BEGUN), admin_pb2.Event(kind="drift", text=DIFFERS))
    assert seen.drift == DIFFERS
    withheld = admin_pb2.Event(kind="note", text="something was not done", detail_json=json.dumps({"kind": "withheld"}))
    assert noted(after(*BEGUN), withheld).waits == "something was not done"


def test_a_line_of_the_journal_and_an_event_are_the_same_decision() -> None:
    read = watch.decision_of_line(line(STARTED))
    assert read is not None
    assert told(after(DEPLOYED), read).weight_ppm == 250_000
    incident = decision(4, "incident", FIRST, FIRST)
    assert watch.decision_of_line(line(incident)) is None
    assert watch.decision_of(admin_pb2.Event(kind="verdict", text="not worse")) is None

