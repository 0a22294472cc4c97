"""What a policy asks for, and which policies are refused."""

from __future__ import annotations

import math

import pytest

from server.judgement.drift.policy import (
    CANARY,
    DEFAULTS,
    INPUTS,
    PREDICTIONS,
    DriftPolicy,
    Response,
    Taken,
    decide,
    response_of,
)


def test_by_default_the_population_alerts_the_canary_is_held_and_nothing_goes_home():
    policy = DriftPolicy()
    assert [decide(policy, signal, True, 0.0).response.word for signal in (INPUTS, PREDICTIONS, CANARY)] == [
        "alert",
        "alert",
        "hold",
    ]
    assert Response.ROLLBACK not in DEFAULTS.values()


@pytest.mark.parametrize("signal", [INPUTS, PREDICTIONS])
@pytest.mark.parametrize(
    ("given", "missing"),
    [({}, "no i_know"), ({"reason": "all clients moved"}, "no i_know"), ({"i_know": True, "reason": " "}, "no reason")],
)
def test_what_the_population_does_rolls_nothing_back_without_i_know_and_a_reason(signal, given, missing):
    with pytest.raises(ValueError) as refused:
        DriftPolicy({signal: Response.ROLLBACK}, **given)
    assert str(refused.value) == (
        f"{signal}: expected off, alert or hold, or i_know with a reason, got rollback with {missing}. "
        "Every version sees the same inputs, so that going home seldom helps"
    )


def test_with_both_it_does_and_the_reason_is_told():
    policy = DriftPolicy({INPUTS: Response.ROLLBACK}, i_know=True, reason="last safe was trained on it")
    asked = decide(policy, INPUTS, True, 0.0)
    assert asked.response is Response.ROLLBACK
    assert asked.why == "Policy says rollback for inputs. Reason given: last safe was trained on it"


def test_a_canary_may_go_home_by_policy():
    assert decide(DriftPolicy({CANARY: Response.ROLLBACK}), CANARY, True, 0.0).response is Response.ROLLBACK


def test_nothing_is_asked_for_without_drift_or_where_it_is_off():
    assert decide(DriftPolicy(), INPUTS, False, 0.0).why == "Nothing has drifted."
    off = decide(DriftPolicy({INPUTS: Response.OFF}), INPUTS, True, 0.0)
    assert (off.response, off.why) == (Response.OFF, "inputs is switched off.")


def test_an_action_cools_down_what_is_as_strong_or_weaker_of_the_same_signal():
    policy = DriftPolicy({INPUTS: Response.HOLD}, cool_down_s=600.0)

    def response(*taken, now_s=1_000.0):
        return decide(policy, INPUTS, True, now_s, taken).response

    held = Taken(INPUTS, Response.HOLD, 500.0)
    asked = decide(policy, INPUTS, True, 1_000.0, [held])
    assert (asked.response, asked.why) == (Response.OFF, "hold was asked for 500 s ago; not again for 100 s.")
    assert response(held, now_s=1_100.0) is Response.HOLD
    assert response(Taken(INPUTS, Response.ALERT, 500.0)) is Response.HOLD
    assert response(Taken(PREDICTIONS, Response.HOLD, 500.0)) is Response.HOLD
    assert response(Taken(INPUTS, Response.ALERT, 900.0), held) is Response.OFF
    assert response(Taken(INPUTS, Response.ROLLBACK, 500.0)) is Response.OFF


def test_a_clock_that_jumped_back_silences_nothing():
    taken = [Taken(INPUTS, Response.ALERT, 1e9)]
    assert decide(DriftPolicy(), INPUTS, True, 0.0, taken).response is Response.ALERT


def test_a_dry_run_tells_what_it_would_have_done():
    asked = decide(DriftPolicy(dry_run=True), CANARY, True, 0.0)
    assert (asked.response, asked.dry_run) == (Response.HOLD, True)
    assert asked.why == "Dry run: would hold for canary."


def test_names_that_nobody_knows_are_refused():
    known = "signal: expected one of inputs, predictions, canary, got 'labels'"
    with pytest.raises(ValueError, match=known):
        DriftPolicy({"labels": Response.ALERT})
    with pytest.raises(ValueError, match=known):
        decide(DriftPolicy(), "labels", True, 0.0)
    with pytest.raises(ValueError, match="response: expected one of off, alert, hold, rollback, got 'page'"):
        response_of("page")
    assert response_of("hold") is Response.HOLD


@pytest.mark.parametrize("seconds", [-1.0, math.inf, math.nan])
def test_a_cool_down_without_an_end_is_refused(seconds):
    with pytest.raises(ValueError, match="cool_down_s: expected seconds of at least 0"):
        DriftPolicy(cool_down_s=seconds)
