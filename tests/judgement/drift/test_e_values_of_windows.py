"""E-values are worth 1 on average while nothing moves, and the detector alarms as seldom as it says."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.judgement.drift.detector import NO_EVIDENCE, step, threshold
from server.judgement.drift.e_values import log_e_values, log_weighted_mean
from server.judgement.drift.layout import Layout
from tests.oracles import drift as oracle


def all_counts(rows, bins):
    for cuts in itertools.combinations(range(rows + bins - 1), bins - 1):
        ends = (-1, *cuts, rows + bins - 1)
        yield [high - low - 1 for low, high in itertools.pairwise(ends)]


@pytest.mark.parametrize("reference", [(7, 2, 6), (40, 0, 1), (1, 1, 1), (3, 0, 90, 12)])
def test_over_all_windows_that_the_reference_foretells_an_e_value_is_worth_exactly_one(reference):
    rows, layout = 6, Layout(np.array([0, len(reference)]))
    r = np.array(reference, dtype=np.float64)
    worth = 0.0
    for counts in all_counts(rows, len(reference)):
        ways = math.factorial(rows) / math.prod(math.factorial(count) for count in counts)
        smoothed = [Fraction(2 * n + 1, 2) for n in reference]
        chance = ways * float(oracle.dirichlet_multinomial(counts, smoothed))
        worth += chance * math.exp(float(log_e_values(np.array(counts, dtype=np.float64), r, layout)[0]))
    assert worth == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("reference_rows", "rows"), [(200, 20), (2_000, 200)])
def test_with_the_reference_drawn_anew_an_e_value_is_worth_no_more_than_one_on_average(reference_rows, rows):
    rng, layout = np.random.default_rng(11), Layout(np.array([0, 3]))
    share = np.array([0.5, 0.3, 0.2])
    e = []
    for _ in range(2_000):
        r = rng.multinomial(reference_rows, share).astype(np.float64)
        m = rng.multinomial(rows, share).astype(np.float64)
        e.append(math.exp(float(log_e_values(m, r, layout)[0])))
    assert np.mean(e) <= 1 + 4 * np.std(e) / math.sqrt(len(e))


def test_a_reference_taken_for_the_truth_is_found_out():
    """Without the reference's own error in the null a window's bet is worth more than 1."""
    rng, layout = np.random.default_rng(11), Layout(np.array([0, 3]))
    share = np.array([0.5, 0.3, 0.2])
    e = []
    for _ in range(2_000):
        r = rng.multinomial(200, share).astype(np.float64)
        m = rng.multinomial(200, share).astype(np.float64)
        certain = 1e6 * r  # the same shares, as if known from a million times the rows
        e.append(math.exp(float(log_e_values(m, certain, layout)[0])))
    assert np.mean(e) > 10


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40))
def test_the_detector_is_its_recurrence(e):
    log_r, seen = NO_EVIDENCE, []
    for value in e:
        log_r = step(log_r, math.log(value), math.inf)
        seen.append(math.exp(log_r))
    assert seen == pytest.approx(oracle.detector(e), rel=1e-9)


def test_the_detector_is_kept_at_its_threshold_so_that_an_alarm_can_end():
    log_r = NO_EVIDENCE
    for _ in range(100):
        log_r = step(log_r, 5.0, math.log(1_000))
    assert log_r == math.log(1_000)
    assert step(log_r, -2.0, math.log(1_000)) < math.log(1_000)


def test_quiet_streams_alarm_within_w_windows_in_w_of_a_at_most():
    """200 streams of 50 windows at A = 500, the reference drawn anew for each: 10 % and its sampling error."""
    rng, layout = np.random.default_rng(23), Layout(np.array([0, 4, 8]))
    share, alarms = np.full(4, 0.25), 0
    for _ in range(200):
        r = rng.multinomial(2_000, share, size=2).ravel().astype(np.float64)
        log_r = NO_EVIDENCE
        for _ in range(50):
            m = rng.multinomial(100, share, size=2).ravel().astype(np.float64)
            log_r = step(log_r, log_weighted_mean(log_e_values(m, r, layout), np.full(2, 0.5)), math.log(500))
            if log_r >= math.log(500):
                alarms += 1
                break
    assert alarms <= 30  # 99 of 100 runs of 200 at 10 %


def test_a_threshold_is_days_in_windows_shared_by_all_detectors():
    assert threshold(90, 60) == 129_600
    assert threshold(90, 60, detectors=8) == 8 * 129_600
    assert threshold(90, 7 * 86_400) == pytest.approx(90 / 7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 60), "days_without_false_alarm: expected a number of days above 0, got 0"),
        ((90, 0), "window_s: expected above 0 and at most 604800 seconds, got 0"),
        ((90, 10**6), "window_s: expected above 0 and at most 604800 seconds"),
        ((90, 60, 0), "detectors: expected 1 or more, got 0"),
        (
            (3, 604_800),
            "expected at least one window of 604800 s, got 3 days. Give more days, or watch shorter windows",
        ),
    ],
)
def test_a_threshold_that_means_nothing_is_refused(arguments, said):
    with pytest.raises(ValueError) as refused:
        threshold(*arguments)
    assert said in str(refused.value)
