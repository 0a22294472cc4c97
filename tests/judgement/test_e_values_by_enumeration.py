"""On cases small enough to list every course of events, expectations are computed, not estimated.

An e-value may not be worth more than 1 on average under its null hypothesis, at whatever moment one stops: so the
expectation over all courses is taken at the stopping time that is best for whoever wants a false alarm.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.judgement.evidence import PPM
from server.judgement.policy import Policy
from server.judgement.sequential import (
    MIXTURE_POINTS,
    PSI_MAX,
    alternatives,
    better_than,
    confidence_interval,
    interval_grid,
    likeliest_ratio,
    log_cap_e_value,
    log_mean_exp,
    log_ratio_e_value,
    worse_than,
)
from server.judgement.verdicts import CanaryTotals, log_e_pass, log_e_values, log_e_worse

ROUNDING = 1e-9


def share_of_events(weight_ppm, ratio):
    pi = weight_ppm / PPM
    return pi * ratio / (1 - pi + pi * ratio)


def best_stopping(e_value, shares):
    """Expectation of `e_value(canary events per step)` when one stops at the best moment. shares: of each event."""

    def worth(course):
        here = e_value(course)
        if len(course) == len(shares):
            return here
        p = shares[len(course)]
        return max(here, p * worth((*course, 1)) + (1 - p) * worth((*course, 0)))

    return worth(())


def ratio_e_value(bet, weights, course):
    """Events arise under `weights` in turn; those of one weight are added up, as the judge does."""
    columns = sorted(set(weights))
    canary, events = [0] * len(columns), [0] * len(columns)
    for on_canary, weight in zip(course, weights, strict=False):
        canary[columns.index(weight)] += on_canary
        events[columns.index(weight)] += 1
    return math.exp(log_ratio_e_value(bet, columns, np.array(canary), np.array(events)))


@pytest.mark.parametrize("weights", [(50_000,) * 8, (500_000,) * 8, (10_000, 10_000, 500_000, 50_000, 950_000, 50_000)])
@pytest.mark.parametrize("ratio", [0.05, 0.5, 1.0, 1.1])
def test_no_stopping_time_makes_a_canary_that_is_no_worse_than_the_margin_look_bad(weights, ratio):
    bet = worse_than(1.1)
    shares = [share_of_events(weight, ratio) for weight in weights]
    assert best_stopping(lambda course: ratio_e_value(bet, weights, course), shares) <= 1 + ROUNDING


@pytest.mark.parametrize("weights", [(50_000,) * 8, (500_000,) * 8, (10_000, 10_000, 500_000, 50_000, 950_000, 50_000)])
@pytest.mark.parametrize("ratio", [1.25, 2.0, 40.0])
def test_no_stopping_time_makes_a_canary_beyond_the_margin_look_good(weights, ratio):
    bet = better_than(1.25)
    shares = [share_of_events(weight, ratio) for weight in weights]
    assert best_stopping(lambda course: ratio_e_value(bet, weights, course), shares) <= 1 + ROUNDING


@pytest.mark.parametrize(("ratio", "bet"), [(1.1, worse_than(1.1)), (1.25, better_than(1.25))])
def test_at_the_margin_itself_the_bet_is_exactly_fair(ratio, bet):
    share = share_of_events(50_000, ratio)
    worth = sum(
        math.prod(share if hit else 1 - share for hit in course) * ratio_e_value(bet, (50_000,) * 8, course)
        for course in itertools.product((0, 1), repeat=8)
    )
    assert worth == pytest.approx(1.0, abs=1e-12)


def test_a_bet_whose_margin_is_off_is_found_out():
    shares = [share_of_events(50_000, 1.25)] * 8
    assert best_stopping(lambda course: ratio_e_value(worse_than(1.1), (50_000,) * 8, course), shares) > 1.001


@pytest.mark.parametrize("rate", [0.1, 0.15, 0.9])
def test_no_stopping_time_brings_a_rate_at_the_cap_under_it(rate):
    def e_value(course):
        return math.exp(log_cap_e_value(0.1, np.array(sum(course)), np.array(len(course))))

    assert best_stopping(e_value, [rate] * 10) <= 1 + ROUNDING


@pytest.mark.parametrize(("stable", "canary"), [(0.08, 0.1), (0.2, 0.5)])
def test_two_ways_to_pass_are_together_no_better_than_one(stable, canary):
    """At a rate on both margins, each bet is fair; their mean is, too. Each of four requests has three outcomes."""
    policy = Policy(cap=0.1)
    pi = 0.5

    def e_pass(course):
        # Of each request: 0 stable without an event, 1 stable with, 2 canary without, 3 canary with.
        on_canary, events = course.count(3), course.count(3) + course.count(1)
        requests = np.array(course.count(2) + course.count(3))
        totals = CanaryTotals(requests, requests, np.array([on_canary] * 3))
        logs = log_e_values(policy, (500_000,), np.array([[on_canary]] * 3), np.array([[events]] * 3), totals)
        return math.exp(log_e_pass(logs.good, logs.cap)[0])

    chances = ((1 - pi) * (1 - stable), (1 - pi) * stable, pi * (1 - canary), pi * canary)

    def worth(course):
        here = e_pass(course)
        if len(course) == 4:
            return here
        return max(here, sum(chance * worth((*course, outcome)) for outcome, chance in enumerate(chances)))

    assert worth(()) <= 1 + ROUNDING


def _ten_requests_a_key(failed, steps):
    """Each step brings a new key, which fails at once or never, and nine requests that do not."""
    return failed, CanaryTotals(np.array(steps), np.array(10 * steps), np.array([failed] * 3))


def _keys_that_failed_long_ago(failed, steps):
    """Each step brings a request of a new key, or else one that fails of a key that has had its first event."""
    return 0, CanaryTotals(np.array(steps - failed), np.array(steps), np.array([failed] * 3))


@pytest.mark.parametrize("world", [_ten_requests_a_key, _keys_that_failed_long_ago])
def test_neither_rate_passes_at_the_cap_however_low_the_other_is(world):
    policy = Policy(cap=0.1)

    def cap_e(course):
        first, totals = world(sum(course), len(course))
        events = np.array([[first]] * 3)
        return math.exp(log_e_values(policy, (500_000,), events, events, totals).cap[0])

    assert best_stopping(cap_e, [0.1] * 10) <= 1 + ROUNDING


def test_signals_that_always_fail_together_cannot_break_alpha():
    """The weighted mean is an e-value under any dependence: here all three signals are one."""
    policy = Policy()
    share = share_of_events(50_000, policy.margin_worse)

    def e_worse(course):
        canary, events = np.array([[sum(course)]] * 3), np.array([[len(course)]] * 3)
        return math.exp(log_e_worse(policy, log_ratio_e_value(worse_than(1.1), (50_000,), canary, events)))

    assert best_stopping(e_worse, [share] * 10) <= 1 + ROUNDING


@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0])
def test_intervals_rule_the_truth_out_as_seldom_as_they_say_at_any_stopping_time(ratio):
    """All courses of 12 events with the chance that the interval has ever excluded the true ratio on the way."""
    share = share_of_events(500_000, ratio)
    for alpha in (0.05, 0.2):
        missed = {}
        for events in range(13):
            for canary in range(events + 1):
                low, high = confidence_interval(alpha, (500_000,), np.array([canary]), np.array([events]))
                missed[canary, events] = not low <= ratio <= high

        def ever(canary, events, missed=missed):
            if missed[canary, events]:
                return 1.0
            if events == 12:
                return 0.0
            return share * ever(canary + 1, events + 1) + (1 - share) * ever(canary, events + 1)

        assert ever(0, 0) <= alpha


@given(
    st.lists(st.tuples(st.integers(1, PPM - 1), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=5),
)
def test_e_values_are_what_the_formula_says_word_by_word(epochs):
    """Against sums in plain Python, epoch by epoch, from the published formula."""
    weights = [weight for weight, _, _ in epochs]
    canary = np.array([count for _, count, _ in epochs])
    events = canary + np.array([count for _, _, count in epochs])
    for bet in (worse_than(1.1), better_than(1.25)):
        terms = []
        for psi in alternatives(bet).tolist():
            term = 0.0
            for weight, k, n in zip(weights, canary.tolist(), events.tolist(), strict=True):
                pi = weight / PPM
                term += k * math.log(psi / bet.margin)
                term += n * math.log((1 - pi + pi * bet.margin) / (1 - pi + pi * psi))
            terms.append(term)
        highest = max(terms)
        expected = highest + math.log(math.fsum(math.exp(term - highest) for term in terms) / len(terms))
        size = max(1.0, float(events.sum()))
        assert float(log_ratio_e_value(bet, weights, canary, events)) == pytest.approx(expected, abs=1e-9 * size)


@given(st.integers(0, 10**5), st.integers(0, 10**7), st.sampled_from([0.5, 0.001, 1e-6]))
def test_the_cap_s_e_value_is_what_the_formula_says_word_by_word(events, others, cap):
    terms = []
    for halving in range(1, 9):
        theta = cap / 2**halving
        terms.append(events * math.log(theta / cap) + others * math.log((1 - theta) / (1 - cap)))
    highest = max(terms)
    expected = highest + math.log(math.fsum(math.exp(term - highest) for term in terms) / len(terms))
    log_e = float(log_cap_e_value(cap, np.array(events), np.array(events + others)))
    assert log_e == pytest.approx(expected, abs=1e-6, rel=1e-9)


def test_counts_that_leave_no_ratio_of_the_grid_standing_are_bounded_by_its_neighbours():
    """A bet lies on the truth itself, halfway between two of the grid's ratios, and the counts are huge."""
    ratio = float(np.geomspace(1 / PSI_MAX, PSI_MAX, MIXTURE_POINTS)[5])
    canary = round(ratio * 10**12)
    low, high = confidence_interval(0.01, [500_000], np.array([canary]), np.array([canary + 10**12]))
    assert 0.95 * ratio < low < ratio < high < 1.05 * ratio


@given(st.integers(1, PPM - 1), st.integers(0, 10**12), st.integers(0, 10**12))
def test_no_count_makes_an_e_value_that_is_no_number(weight, canary, stable):
    counts, events = np.array([canary]), np.array([canary + stable])
    for bet in (worse_than(1.1), better_than(1.25)):
        assert math.isfinite(log_ratio_e_value(bet, [weight], counts, events))
    assert math.isfinite(log_cap_e_value(0.001, np.array(canary), np.array(canary + stable)))
    low, high = confidence_interval(0.01, [weight], counts, events)
    assert 0.0 <= low <= high


def test_the_mean_of_exponentials_overflows_nowhere():
    assert log_mean_exp(np.array([1e6, 1e6])) == pytest.approx(1e6)
    assert log_mean_exp(np.array([-1e6, -1e6 - 700])) == pytest.approx(-1e6 - math.log(2))


@pytest.mark.parametrize(("weight", "canary", "stable"), [(50_000, 31, 400), (500_000, 100, 100), (900_000, 7, 2)])
def test_an_interval_holds_the_likeliest_ratio_and_narrows_with_more_of_the_same(weight, canary, stable):
    estimate = likeliest_ratio([weight], [canary], [canary + stable])
    pi = weight / PPM
    assert estimate == pytest.approx((canary / pi) / (stable / (1 - pi)))
    before = (0.0, math.inf)
    for times in (1, 10, 100):
        low, high = confidence_interval(
            0.01, [weight], np.array([times * canary]), np.array([times * (canary + stable)])
        )
        assert before[0] <= low < estimate < high <= before[1]
        before = (float(low), float(high))


def test_the_likeliest_ratio_over_several_weights_balances_what_each_expects():
    weights, canary, events = [10_000, 50_000, 500_000], [3, 20, 150], [100, 200, 220]
    ratio = likeliest_ratio(weights, canary, events)
    expected = sum(n * share_of_events(weight, ratio) for weight, n in zip(weights, events, strict=True))
    assert expected == pytest.approx(sum(canary))


def test_the_likeliest_ratio_has_ends_and_needs_an_event():
    assert likeliest_ratio([50_000], [0], [9]) == 0.0
    assert likeliest_ratio([50_000], [9], [9]) == math.inf
    with pytest.raises(ValueError, match="expected one at least, got none"):
        likeliest_ratio([50_000], [0], [0])


def test_bets_lie_strictly_beyond_their_margin():
    assert alternatives(worse_than(1.1)).min() > 1.1
    assert alternatives(worse_than(1.1)).max() == pytest.approx(PSI_MAX)
    assert alternatives(better_than(1.25)).max() < 1.25
    assert interval_grid()[300] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="furthest: expected a ratio above 0 other than 50"):
        worse_than(PSI_MAX)
