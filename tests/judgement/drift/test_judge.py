"""What the judge of drift says of windows, and what it keeps in mind."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from server.judgement.drift.judge import judge
from server.judgement.drift.limits import Limits
from server.judgement.drift.psi import Band
from server.judgement.drift.reference import TooFewRows, reference_of
from server.judgement.drift.report import Verdict
from server.judgement.drift.state import SignalState, beginning, state_from_bytes
from server.judgement.drift.state_bytes import BadState
from server.judgement.drift.window import Window
from tests.judgement.drift.streams import BINS, EQUAL, LIMITS, TILTED, reference, window
from tests.oracles import drift as oracle


def judged(of, windows, limits=LIMITS, state=None):
    """Reports of windows one after the other, and the last state."""
    state, reports = state or beginning(of), []
    for one in windows:
        found = judge(of, one, state, limits)
        state = found.state
        reports.append(found.report)
    return reports, state


def quiet(rng, count, **more):
    return [window(rng, **more) for _ in range(count)]


def test_quiet_windows_are_quiet_and_a_shift_is_drift_that_names_its_feature():
    rng, of = np.random.default_rng(4), reference()
    reports, _ = judged(of, [*quiet(rng, 20), *(window(rng, shares=TILTED) for _ in range(3))])
    assert [report.verdict for report in reports] == [Verdict.QUIET] * 20 + [Verdict.DRIFT] * 3
    assert all(report.moved == () for report in reports[:20])
    last = reports[-1]
    assert last.moved == ("feature 0",)
    assert last.features[0].name == "feature 0"
    assert last.features[0].psi > 0.2
    assert last.features[0].band is Band.LARGE
    assert last.why.startswith("Moved: feature 0 (PSI 0.")
    assert last.why.endswith("the detector has reached 1,000, which an alarm needs.")


def test_every_figure_of_a_report_is_the_oracle_s():
    rng, of = np.random.default_rng(5), reference()
    one = window(rng, shares=TILTED)
    report = judge(of, one, beginning(of), LIMITS).report
    for feature in report.features:
        f = int(feature.name.split()[1])
        span = slice(f * BINS, (f + 1) * BINS)
        ours, theirs = one.counts[span].tolist(), of.counts[span].tolist()
        phi = max(1.0, oracle.phi(one.by_key[:, span].tolist()))
        assert feature.phi == pytest.approx(phi)
        assert feature.psi == pytest.approx(oracle.psi(ours, theirs), abs=1e-9)
        assert feature.psi0 == pytest.approx(oracle.debiased(ours, theirs, phi), abs=1e-9)
        assert feature.standard_error == pytest.approx(oracle.standard_error(ours, theirs, phi), abs=1e-9)
        assert feature.effective_rows == pytest.approx(1_600 / phi)
    assert report.weighted_psi0 == pytest.approx(sum(f.psi0 for f in report.features) / 3)


def test_a_small_shift_is_no_accident_and_no_alarm():
    rng, of = np.random.default_rng(6), reference(rows=200_000)
    tilted = EQUAL * np.repeat([0.85, 1.15], BINS // 2)  # PSI 0.02
    reports, state = judged(of, [window(rng, shares=tilted, rows=16_000) for _ in range(5)])
    assert reports[-1].verdict is Verdict.QUIET
    assert state.log_r == LIMITS.log_threshold
    assert reports[-1].why.startswith("A shift that is no accident, but too small to matter: the largest PSI is")
    assert reports[-1].moved == ()
    again, _ = judged(of, [window(rng, shares=tilted, rows=16_000)], replace(LIMITS, tau=0.01))
    assert again[0].verdict is Verdict.DRIFT


def test_small_windows_add_up_to_an_alarm_that_none_of_them_would_be():
    rng, of = np.random.default_rng(7), reference()
    shares = EQUAL * np.repeat([0.6, 1.4], BINS // 2)  # PSI 0.17, less than a standard error above tau at 160 rows
    reports, _ = judged(of, [window(rng, rows=160, shares=shares) for _ in range(60)])
    first = next(report for report in reports if report.verdict is Verdict.DRIFT)
    assert first.rise_windows > 1
    feature = first.features[0]
    assert feature.psi0 - LIMITS.z * feature.standard_error < LIMITS.tau
    assert first.moved == ("feature 0",)


def test_an_alarm_ends_soon_after_what_caused_it():
    rng, of = np.random.default_rng(8), reference()
    reports, _ = judged(of, [*(window(rng, shares=TILTED) for _ in range(30)), *quiet(rng, 3)])
    assert reports[29].verdict is Verdict.DRIFT
    assert reports[-1].verdict is Verdict.QUIET


def test_rows_of_a_key_are_not_taken_for_independent_ones():
    rng, of = np.random.default_rng(9), reference()
    windows = quiet(rng, 40, cluster=10)
    reports, _ = judged(of, windows)
    assert all(report.verdict is Verdict.QUIET for report in reports)
    assert reports[-1].features[0].phi == pytest.approx(10, rel=0.2)
    alike = [Window(np.tile(one.counts // 16, (16, 1))) for one in windows]
    fooled, _ = judged(of, alike, replace(LIMITS, tau=0.01))
    assert any(report.verdict is Verdict.DRIFT for report in fooled)


def test_slices_of_time_count_where_they_differ_more_than_keys_do():
    rng, of = np.random.default_rng(10), reference(features=1)
    bursts = np.zeros((8, BINS), dtype=np.int64)
    bursts[np.arange(8), rng.integers(0, BINS, 8)] = 200
    by_key = rng.multivariate_hypergeometric(bursts.sum(axis=0), 800)
    keys = np.stack([by_key, bursts.sum(axis=0) - by_key])
    without = judge(of, Window(keys), beginning(of), LIMITS).report
    within = judge(of, Window(keys, bursts), beginning(of), LIMITS).report
    assert without.features[0].phi < 5
    assert within.features[0].phi > 50


def test_a_small_reference_s_own_error_is_no_drift_however_many_rows_are_held_against_it():
    """One feature is off by as much as 800 rows can be, for good. At full worth R is at 110 after 15 windows."""
    rng = np.random.default_rng(12)
    of = reference(features=16, rows=800, rng=rng)
    reports, state = judged(of, quiet(rng, 15, rows=32_000, features=16, moved=0))
    assert state.log_r < 0.5
    assert all(report.verdict is Verdict.QUIET for report in reports)


def test_a_reference_whose_rows_are_as_alike_as_the_traffic_s_is_not_taken_for_more_than_it_is_worth():
    """Ten rows of each key in both. Taken for 20,000 independent ones the reference's error looks like drift."""
    rng = np.random.default_rng(21)
    keys = rng.multinomial(2_000, EQUAL, size=16).ravel()
    names, offsets = [f"feature {f}" for f in range(16)], np.arange(17) * BINS
    windows = quiet(rng, 25, rows=20_000, features=16, moved=0, cluster=10)
    highest = []
    for independent in (False, True):
        of = reference_of(names, offsets, 10 * keys, independent_rows=independent)
        reports, _ = judged(of, windows)
        highest.append(max(report.log_r for report in reports))
    assert highest[0] < 3.0
    assert highest[1] == LIMITS.log_threshold


@pytest.mark.parametrize(
    ("blocks", "why"),
    [
        (np.zeros((16, 3 * BINS), dtype=np.int64), "No rows in this window."),
        (np.ones((4, 3 * BINS), dtype=np.int64), "32 rows in this window, 100 are needed."),
        (
            np.full((1, 3 * BINS), 50, dtype=np.int64),
            "All rows of this window fall into one block, so that nobody can tell how many of them are independent.",
        ),
    ],
)
def test_a_window_that_says_nothing_is_not_enough_and_changes_nothing(blocks, why):
    rng, of = np.random.default_rng(13), reference()
    _, state = judged(of, quiet(rng, 3))
    found = judge(of, Window(blocks), state, LIMITS)
    assert found.report.verdict is Verdict.NOT_ENOUGH
    assert found.report.why == why
    assert found.state is state
    assert found.report.features == ()
    assert json.dumps(found.report.to_dict(), allow_nan=False)


def test_a_window_without_keys_is_judged_by_its_slices():
    rng, of = np.random.default_rng(14), reference()
    one = window(rng)
    report = judge(of, Window(one.counts[None], one.by_key), beginning(of), LIMITS).report
    assert report.verdict is Verdict.QUIET
    assert report.features[0].psi == judge(of, one, beginning(of), LIMITS).report.features[0].psi


def test_a_feature_that_is_all_missing_or_constant_is_drift_and_no_error():
    rng, of = np.random.default_rng(15), reference()
    constant = np.zeros(BINS)
    constant[3] = 1.0
    reports, _ = judged(of, [*quiet(rng, 5), window(rng, shares=constant)])
    assert reports[-1].verdict is Verdict.DRIFT
    assert reports[-1].moved == ("feature 0",)
    assert json.dumps(reports[-1].to_dict(), allow_nan=False)


def test_a_feature_that_weighs_nothing_can_not_alarm_but_is_shown():
    rng, of = np.random.default_rng(16), reference(importance=[0.0, 1.0, 1.0])
    reports, _ = judged(of, [window(rng, shares=TILTED) for _ in range(5)])
    assert reports[-1].verdict is Verdict.QUIET
    assert next(f for f in reports[-1].features if f.name == "feature 0").psi > 0.2


def test_what_the_model_leans_on_comes_first_among_what_moved():
    rng, of = np.random.default_rng(17), reference(importance=[1.0, 1.0, 8.0])
    both = judge(of, window(rng, shares=TILTED, moved=3), beginning(of), LIMITS).report
    assert both.moved[0] == "feature 2"
    assert set(both.moved) == {"feature 0", "feature 1", "feature 2"}


def test_the_same_windows_give_the_same_reports_live_and_after_a_restart():
    rng, of = np.random.default_rng(18), reference()
    windows = [*quiet(rng, 5), *(window(rng, shares=EQUAL * np.repeat([0.9, 1.1], 4)) for _ in range(5))]
    live, last = judged(of, windows)
    state, restarted = beginning(of), []
    for one in windows:
        found = judge(of, one, state_from_bytes(state.to_bytes(of), of), LIMITS)
        state = found.state
        restarted.append(found.report)
    assert [report.to_dict() for report in live] == [report.to_dict() for report in restarted]
    assert last.to_bytes(of) == state.to_bytes(of)


def test_a_state_that_is_no_state_is_refused():
    rng, of = np.random.default_rng(19), reference()
    _, state = judged(of, quiet(rng, 2))
    data = state.to_bytes(of)
    assert math.isinf(state_from_bytes(beginning(of).to_bytes(of), of).log_r)
    not_a_number = replace(state, log_r=math.nan).to_bytes(of)
    for bad, said in (
        (b"", "expected at least 48 bytes, got 0"),
        (b"x" + data[1:], "expected version 1 of b'RoostDrf'"),
        (data[:8] + b"\x02" + data[9:], "got 2 of b'RoostDrf'"),
        (data[:10] + b"\x09" + data[11:], "expected kind 1, got 9"),
        (data[:-1], f"expected {len(data)} bytes, got {len(data) - 1}"),
        (data + b"x", f"expected {len(data)} bytes, got {len(data) + 1}"),
        (data[:44] + b"\x07" + data[45:], "expected 5 arrays, got 7"),
        (not_a_number, "expected finite numbers of at least 0, got others"),
    ):
        with pytest.raises(BadState, match="egin anew") as refused:
            state_from_bytes(bad, of)
        assert said in str(refused.value)
    with pytest.raises(BadState, match=r"got one of others\. A new baseline begins anew"):
        state_from_bytes(data, reference(features=2))


def test_a_shift_that_goes_on_for_long_does_not_bury_a_new_one():
    """The windows that sizes are measured on are halved at times, so that the latest weigh something."""
    rng, of = np.random.default_rng(20), reference(rows=200_000)
    small = EQUAL * np.repeat([0.9, 1.1], BINS // 2)
    _, state = judged(of, [window(rng, shares=small, rows=3_200) for _ in range(200)])
    assert isinstance(state, SignalState)
    assert state.rise.windows <= 64
    assert state.rise.counts.sum() <= 65 * 3_200 * 3


def test_a_reference_too_small_for_tau_is_refused_before_anything_is_judged():
    of = reference(rows=600)
    with pytest.raises(TooFewRows, match=r"expected at least 700 rows for its 8 bins and tau = 0.1, got 600"):
        judge(of, window(np.random.default_rng(1)), beginning(of), LIMITS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 0.5}, "threshold: expected windows between false alarms, at least 1, got 0.5"),
        ({"tau": 0.0}, "tau: expected a PSI above 0, got 0.0. At 0 every difference matters"),
        ({"z": -1.0}, "z: expected 0 to 10 standard errors, got -1.0"),
        ({"false_discoveries": 1.0}, "false_discoveries: expected a share above 0 and below 1, got 1.0"),
        ({"rows_min": 0}, "rows_min: expected 1 row or more, got 0"),
    ],
)
def test_limits_out_of_their_range_are_refused(change, said):
    with pytest.raises(ValueError) as refused:
        Limits(**{"threshold": 100.0, **change})
    assert said in str(refused.value)


def test_a_window_whose_blocks_are_none_is_refused():
    with pytest.raises(ValueError, match=r"by_key: expected blocks by bins, got an array of shape \(3,\)"):
        Window(np.array([1, 2, 3]))
    with pytest.raises(
        ValueError, match=r"by_key: expected counts of at least 0, got -2\. Cumulative counts only grow"
    ):
        Window(np.array([[1, -2], [1, 1]]))
    with pytest.raises(ValueError, match="by_time: expected the rows of by_key, got others"):
        Window(np.array([[1, 2], [1, 1]]), np.array([[2, 2], [1, 1]]))
