"""The judge: what it says, in which order of precedence, and what cannot change its mind."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.judgement.evidence import PPM, SIGNALS, ArmCounts, EpochCounts, keyless, merged
from server.judgement.policy import Policy
from server.judgement.verdicts import Verdict, judge

POLICY = Policy()
requests, some = st.integers(0, 10**6), st.integers(0, 10**4)
arms = st.builds(ArmCounts, requests, *[some] * 3, requests, *[some] * 3)
evidences = st.lists(
    st.tuples(st.sampled_from([0, 1, 10_000, 50_000, 500_000, 999_999, PPM]), arms, arms), max_size=5
).map(lambda rows: tuple(EpochCounts(epoch, *row) for epoch, row in enumerate(rows)))


def at_five_percent(stable, canary):
    return (EpochCounts(1, 50_000, keyless(*stable), keyless(*canary)),)


@pytest.mark.parametrize("signal", SIGNALS)
def test_each_signal_alone_takes_a_bad_canary_home(signal):
    evidence = at_five_percent((9500,), (500,))
    evidence = merged(evidence, [EpochCounts(1, 50_000, keyless(**{signal: 5}), keyless(**{signal: 9}))])
    judgement = judge(evidence, POLICY)
    assert (judgement.verdict, judgement.decisive) == (Verdict.WORSE, signal)
    assert judgement.e_worse >= 100


def test_without_evidence_the_judge_waits_and_every_e_value_is_one():
    judgement = judge((), POLICY)
    assert judgement.verdict is Verdict.WAIT
    assert judgement.e_worse == pytest.approx(1.0)
    assert all(signal.e_bad == signal.e_good == signal.cap_e == 1.0 for signal in judgement.signals)


@pytest.mark.parametrize("weight", [0, PPM])
def test_a_weight_of_nothing_or_of_all_carries_no_evidence(weight):
    counts = EpochCounts(2, weight, keyless(1000, 0, 0, 0), keyless(100_000, 90_000, 5, 5))
    judgement = judge((counts,), POLICY)
    assert judgement.verdict is Verdict.WAIT
    assert judgement.e_worse == pytest.approx(1.0)
    assert (judgement.canary_requests, judgement.weights_ppm) == (0, ())
    some = at_five_percent((9500, 9), (500, 3))
    assert judge((*some, counts), POLICY) == judge(some, POLICY)


def test_a_canary_without_events_passes_by_the_cap_and_one_event_delays_it():
    def passes_at(errors):
        return next(
            requests
            for requests in range(100, 100_000, 20)
            if judge(at_five_percent((19 * requests, 30), (requests, errors)), POLICY).verdict is Verdict.NOT_WORSE
        )

    assert 3_000 <= passes_at(0) < passes_at(1) < passes_at(2)
    assert passes_at(0) <= 4_500


HALF_EACH = 500_000


@pytest.mark.parametrize("signal", SIGNALS)
def test_five_keys_that_fail_all_the_time_do_not_pass_among_many_that_do_not(signal):
    """5 first events in 100,000 requests would be 0.005 %. But 3 % of all requests failed."""
    first, again = {signal: 5}, {signal: 5, f"{signal}_all": 3_000}
    stable = ArmCounts(requests=100_000)
    for events, verdict in ((first, Verdict.NOT_WORSE), (again, Verdict.WAIT)):
        canary = ArmCounts(requests=100_000, units=50_000, **events)
        assert judge((EpochCounts(1, HALF_EACH, stable, canary),), POLICY).verdict is verdict


def test_fifty_keys_without_an_event_pass_at_no_number_of_requests():
    stable = ArmCounts(requests=1_000_000)
    for units, verdict in ((50, Verdict.WAIT), (5_000, Verdict.NOT_WORSE)):
        canary = ArmCounts(requests=1_000_000, units=units)
        judgement = judge((EpochCounts(1, HALF_EACH, stable, canary),), POLICY)
        assert (judgement.verdict, judgement.canary_units) == (verdict, units)


def test_keys_that_fail_are_counted_among_keys():
    """1 % of 5,000 keys fail once each, in a million requests: 0.005 % of those."""
    canary = ArmCounts(requests=1_000_000, units=5_000, errors=50, errors_all=50)
    stable = ArmCounts(requests=1_000_000, errors=50, errors_all=50)
    judgement = judge((EpochCounts(1, HALF_EACH, stable, canary),), POLICY)
    assert judgement.signal("errors").cap_e < 1
    assert (judgement.verdict, judgement.decisive) == (Verdict.WAIT, "errors")


@given(arms, arms)
def test_what_a_key_does_again_makes_no_canary_worse_or_better_beside_its_stable(stable, canary):
    """Ratios know first events only: a heavy key on one side is no evidence of a difference between the sides."""
    again = replace(canary, errors_all=canary.errors_all + 1000, units=canary.units // 2)
    before, after = (judge((EpochCounts(1, HALF_EACH, stable, one),), POLICY) for one in (canary, again))
    assert after.e_worse == before.e_worse
    for one, other in zip(before.signals, after.signals, strict=True):
        assert (one.e_bad, one.e_good, one.psi_low, one.psi_high) == (
            other.e_bad, other.e_good, other.psi_low, other.psi_high,
        )  # fmt: skip
        assert other.cap_e <= one.cap_e


def test_a_promotion_needs_every_signal_to_pass():
    passing = at_five_percent((1_900_000,), (100_000,))
    assert judge(passing, POLICY).verdict is Verdict.NOT_WORSE
    for signal in SIGNALS:
        # As frequent as the cap, in both variants alike: no evidence of harm, none of its absence.
        held = keyless(**{signal: 1_900}), keyless(**{signal: 100})
        judgement = judge(merged(passing, [EpochCounts(1, 50_000, *held)]), POLICY)
        assert (judgement.verdict, judgement.decisive) == (Verdict.WAIT, signal)


def test_a_frequent_event_passes_without_the_cap_when_the_canary_has_it_as_often_as_stable():
    evidence = (EpochCounts(1, 500_000, keyless(100_000, 2_000), keyless(100_000, 2_000)),)
    judgement = judge(evidence, POLICY)
    assert judgement.signal("errors").cap_e < 1e-9
    assert judgement.verdict is Verdict.NOT_WORSE


def test_worse_goes_before_not_worse():
    """So rare that the cap lets it pass, yet clearly worse than the stable, which never fails."""
    evidence = at_five_percent((1_900_000,), (100_000, 20))
    judgement = judge(evidence, POLICY)
    assert all(signal.e_pass >= POLICY.not_worse_at for signal in judgement.signals)
    assert judgement.verdict is Verdict.WORSE


def test_few_requests_do_not_pass_however_good_they_are():
    policy = Policy(cap=0.5, canary_requests_min=1_000)
    assert judge(at_five_percent((19_000,), (999,)), policy).verdict is Verdict.WAIT
    assert judge(at_five_percent((19_000,), (999,)), policy).decisive is None
    assert judge(at_five_percent((19_000,), (1_000,)), policy).verdict is Verdict.NOT_WORSE


def test_an_event_that_comes_before_its_request_is_judged_too():
    judgement = judge(at_five_percent((0,), (0, 0, 0, 4)), POLICY)
    assert judgement.verdict is Verdict.WORSE
    assert judgement.signal("timeouts").cap_e < 1


@given(evidences, st.sampled_from(SIGNALS), st.integers(1, 1000))
def test_more_events_of_the_canary_never_make_it_look_better(evidence, signal, more):
    worse = tuple(
        EpochCounts(c.epoch, c.canary_weight_ppm, c.stable, c.canary + keyless(**{signal: more})) for c in evidence
    )
    before, after = judge(evidence, POLICY), judge(worse, POLICY)
    assert after.e_worse >= before.e_worse * (1 - 1e-9)
    assert after.signal(signal).e_good <= before.signal(signal).e_good * (1 + 1e-9)
    assert after.signal(signal).cap_e <= before.signal(signal).cap_e * (1 + 1e-9)


@given(evidences, st.sampled_from(SIGNALS), st.integers(1, 1000))
def test_more_events_of_the_stable_never_make_the_canary_look_worse(evidence, signal, more):
    milder = tuple(
        EpochCounts(c.epoch, c.canary_weight_ppm, c.stable + keyless(**{signal: more}), c.canary) for c in evidence
    )
    before, after = judge(evidence, POLICY), judge(milder, POLICY)
    assert after.e_worse <= before.e_worse * (1 + 1e-9)
    assert after.signal(signal).e_good >= before.signal(signal).e_good * (1 - 1e-9)


@given(evidences)
def test_neither_the_order_of_epochs_nor_their_number_is_evidence(evidence):
    split = tuple(
        EpochCounts(
            2 * c.epoch + half, c.canary_weight_ppm, *((c.stable, c.canary) if half else (ArmCounts(), ArmCounts()))
        )
        for c in evidence
        for half in (0, 1)
    )
    assert judge(tuple(reversed(split)), POLICY) == judge(evidence, POLICY)


@given(evidences)
def test_a_judgement_is_plain_json_whatever_it_says(evidence):
    judgement = judge(evidence, POLICY)
    read = json.loads(json.dumps(judgement.to_dict(), allow_nan=False))
    assert read["verdict"] == judgement.verdict
    assert [signal["name"] for signal in read["signals"]] == list(SIGNALS)
    assert read == judgement.to_dict()
    assert read["canary_units"] == judgement.canary_units
    assert [signal["canary_events_all"] for signal in read["signals"]] == [
        signal.canary_events_all for signal in judgement.signals
    ]


@given(evidences)
def test_the_likeliest_ratio_lies_in_its_interval(evidence):
    for signal in judge(evidence, POLICY).signals:
        assert signal.psi_low <= signal.psi_high
        if signal.estimate is not None and 1e-3 < signal.estimate < 1e3:
            assert signal.psi_low <= signal.estimate <= signal.psi_high


def test_what_has_no_bound_is_null_in_a_journal():
    signal = judge(at_five_percent((0,), (40, 40)), POLICY).to_dict()["signals"][0]
    assert (signal["estimate"], signal["psi_high"]) == (None, None)
    assert signal["psi_low"] > 1


def test_a_signal_that_is_not_judged_is_refused():
    with pytest.raises(KeyError, match="expected one of errors, non_finite, timeouts, got 'latency'"):
        judge((), POLICY).signal("latency")


def test_a_look_over_a_rollout_of_many_weights_costs_no_more_than_forty_thousand_turns_of_a_loop():
    """A millisecond or so, and nothing that grows with the requests. Both are timed in turns."""
    evidence = tuple(
        EpochCounts(epoch, 10_000 * (epoch + 1), keyless(10**6, 900, 3, 40), keyless(10**5, 90, 0, 4))
        for epoch in range(20)
    )
    works = {"look": lambda: judge(evidence, POLICY), "loop": lambda: sum(turn * turn for turn in range(40_000))}
    took: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(40):
        for name, work in works.items():
            started = time.thread_time()
            work()
            took[name].append(time.thread_time() - started)
    assert statistics.median(took["look"]) < statistics.median(took["loop"])
