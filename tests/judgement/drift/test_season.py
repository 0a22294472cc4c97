"""What is usual at an hour of the week is learnt from quiet windows, and what is usual there is no drift."""

from __future__ import annotations

import numpy as np
import pytest

from server.judgement.drift.judge import judge
from server.judgement.drift.reference import reference_of
from server.judgement.drift.report import Verdict
from server.judgement.drift.season import (
    KIND_WHOLE,
    PRIOR_ROWS,
    beginning,
    hour_from_bytes,
    judge_hour,
    season_from_bytes,
)
from server.judgement.drift.state import beginning as state_beginning
from server.judgement.drift.state import state_from_bytes
from server.judgement.drift.state_bytes import BadState, pack
from server.judgement.drift.window import Window
from tests.judgement.drift.streams import BINS, EQUAL, LIMITS, TILTED, reference, window

NIGHT = EQUAL * np.repeat([1.4, 0.6], BINS // 2)


def learnt(rng, of, hour, shares, windows=60):
    season = beginning(of)
    for _ in range(windows):
        season = season.learnt(hour, of.merged(window(rng, shares=shares, moved=3).counts), 60.0)
    return season


def test_an_hour_that_is_not_known_is_learnt_and_not_judged_and_then_it_is_judged():
    rng, of = np.random.default_rng(1), reference()
    season, state, seen = beginning(of), state_beginning(of), []
    for _ in range(40):
        found = judge_hour(season, of, 30, 60.0, window(rng, rows=160, shares=NIGHT, moved=3), state, LIMITS)
        season, state = found.season, found.judged.state
        seen.append(found.judged.report)
    assert seen[0].verdict is Verdict.NOT_ENOUGH
    for place, rows in ((0, 0), (3, 438)):
        assert seen[place].why == (
            f"Still learning what is usual at this hour of the week: {rows} of the 700 rows that it needs were known "
            "before this window."
        )
    assert [report.verdict for report in seen[6:]] == [Verdict.QUIET] * 34


def test_rows_of_a_key_are_learnt_for_what_they_are_worth():
    rng, of = np.random.default_rng(6), reference()
    found = judge_hour(beginning(of), of, 0, 60.0, window(rng, cluster=10), state_beginning(of), LIMITS)
    assert found.season.hours[0].sum() / 3 == pytest.approx(160, rel=0.25)


def test_what_is_usual_at_night_is_drift_by_day_and_by_the_training_reference():
    rng, of = np.random.default_rng(2), reference()
    season = learnt(rng, of, 3, NIGHT)
    one = window(rng, shares=NIGHT, moved=3)
    state = state_beginning(of)
    assert judge_hour(season, of, 3, 60.0, one, state, LIMITS).judged.report.verdict is Verdict.QUIET
    assert judge(of, one, state, LIMITS).report.verdict is Verdict.DRIFT
    by_day = learnt(rng, of, 12, EQUAL)
    assert judge_hour(by_day, of, 12, 60.0, one, state, LIMITS).judged.report.verdict is Verdict.DRIFT


def test_an_hour_s_reference_strays_from_the_training_one_as_far_as_it_is_known_to():
    """An hour like all others is mixed with 1,000 rows of the training reference, one that plainly differs with few."""
    rng, of = np.random.default_rng(3), reference(rows=200_000)
    alike = learnt(rng, of, 0, EQUAL, windows=10)
    other = learnt(rng, of, 0, NIGHT, windows=10)
    known = of.layout.sum(alike.hours[0])[0]
    added = [float(of.layout.sum(season.reference(of, 0).counts)[0]) - known for season in (alike, other)]
    assert 500 < added[0] <= PRIOR_ROWS + 1e-6
    assert added[1] < 100


def test_a_window_that_drifts_teaches_nothing():
    rng, of = np.random.default_rng(4), reference()
    season, state = learnt(rng, of, 5, EQUAL), state_beginning(of)
    drifted = judge_hour(season, of, 5, 60.0, window(rng, shares=TILTED, moved=3), state, LIMITS)
    assert drifted.judged.report.verdict is Verdict.DRIFT
    assert drifted.season is season
    empty = judge_hour(season, of, 5, 60.0, Window(np.zeros((16, 3 * BINS), dtype=np.int64)), state, LIMITS)
    assert empty.season is season
    quiet = judge_hour(season, of, 5, 60.0, window(rng, moved=0), state, LIMITS)
    assert quiet.season.hours[5].sum() > season.hours[5].sum()
    assert (quiet.season.hours[6] == 0).all()


def test_what_was_learnt_fades_by_half_in_four_visits_of_the_hour():
    of = reference()
    season = beginning(of).learnt(7, np.full(of.layout.bins, 80.0), 3600.0)
    nothing = np.zeros(of.layout.bins)
    for _ in range(4):
        season = season.learnt(7, nothing, 3600.0)
    assert season.hours[7] == pytest.approx(np.full(of.layout.bins, 40.0))
    for _ in range(4 * 60):
        season = season.learnt(7, nothing, 60.0)
    assert season.hours[7] == pytest.approx(np.full(of.layout.bins, 20.0))


def test_a_season_begins_with_what_the_reference_knows_of_its_hours():
    by_hour = np.zeros((168, 3 * BINS), dtype=np.int64)
    by_hour[20] = 500
    of = reference(by_hour=by_hour)
    season = beginning(of)
    assert season.enough(of, 20, 0.1)
    assert not season.enough(of, 21, 0.1)


def test_an_hour_is_the_same_after_a_restart_and_refuses_what_is_none():
    rng, of = np.random.default_rng(5), reference()
    season = learnt(rng, of, 9, NIGHT, windows=3)
    data = season.hour_to_bytes(of, 9)
    again = beginning(of).with_hour(9, hour_from_bytes(data, of))
    assert all((one == other).all() for one, other in zip(season.hours, again.hours, strict=True))
    assert len(data) < 2 * season.hours[9].nbytes
    with pytest.raises(BadState, match="expected kind 1, got 3"):
        state_from_bytes(data, of)
    with pytest.raises(BadState, match=r"expected \d+ bytes, got \d+"):
        hour_from_bytes(data[:-8], of)
    with pytest.raises(BadState, match="expected finite numbers of at least 0"):
        hour_from_bytes(data[:-8] + np.array([-1.0]).tobytes(), of)


def test_hours_that_were_kept_in_one_are_read_still():
    rng, of = np.random.default_rng(5), reference()
    season = learnt(rng, of, 9, NIGHT, windows=3)
    data = pack(KIND_WHOLE, of.digest, season.hours)
    again = season_from_bytes(data, of)
    assert all((one == other).all() for one, other in zip(season.hours, again.hours, strict=True))
    with pytest.raises(BadState, match="expected kind 3, got 2"):
        hour_from_bytes(data, of)
    with pytest.raises(BadState, match=r"expected \d+ bytes, got \d+"):
        season_from_bytes(data[:-8], of)
    with pytest.raises(BadState, match="expected finite numbers of at least 0"):
        season_from_bytes(data[:-8] + np.array([np.nan]).tobytes(), of)


@pytest.mark.parametrize("hour", [-1, 168])
def test_an_hour_of_no_week_is_refused(hour):
    of = reference()
    with pytest.raises(ValueError, match=f"hour: expected 0 to 167, hours since Monday 0:00 UTC, got {hour}"):
        beginning(of).reference(of, hour)


def test_what_follows_the_hour_is_not_named_when_the_hour_turns_while_another_feature_is_about_to_alarm():
    """One feature swings with the hour, as the reference knows; another has moved, too little to matter."""
    rng, edges = np.random.default_rng(3), np.linspace(-2.5, 2.5, 9)

    def binned(mean, rows):
        return np.bincount(np.searchsorted(edges, rng.normal(mean, 1.0, rows)), minlength=10)

    swing = (-0.5, 0.5)
    by_hour = np.array([np.concatenate([binned(swing[hour % 2], 20_000), binned(0.0, 20_000)]) for hour in range(168)])
    of = reference_of(["swings", "moves"], np.array([0, 10, 20]), by_hour.sum(axis=0), None, by_hour)
    season, state, named, highest = beginning(of), state_beginning(of), [], 0.0
    for minute in range(180):
        hour, moved = minute // 60, 0.2 if minute >= 90 else 0.0
        rows = rng.multinomial(1_600, np.full(16, 1 / 16)).tolist()
        one = Window(np.array([np.concatenate([binned(swing[hour % 2], n), binned(moved, n)]) for n in rows]))
        found = judge_hour(season, of, hour, 60.0, one, state, LIMITS)
        season, state = found.season, found.judged.state
        named += found.judged.report.moved
        highest = max(highest, state.log_r)
    assert highest >= LIMITS.log_threshold, "the detector has seen it"
    assert named == [], "what moved is too little to matter, and the other only follows the hour"
