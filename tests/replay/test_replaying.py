"""The replay's clock: silence, pauses, the end of the rows, and what the settings leave unjudged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from server.control.drift.windows import WindowKind
from server.judgement.drift.policy import Response
from server.judgement.drift.report import Verdict
from server.replay.reading import Rows
from server.replay.replaying import IDLE_NS_MAX, Replay, Told, replayed
from server.replay.subject import NothingToCompare, Subject, subject_of, unjudged
from server.settings import DriftSettings
from tests.replay.made import DAY_US, FACTOR, HOUR_US, MINUTE_US, MONDAY_US, normal, subject

OFF = DriftSettings(season="off", days_without_false_alarm=1.0)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(tmp_path_factory.mktemp("replaying"))


def rows_at(times_us: np.ndarray, shift: float = 0.0, seed: int = 3) -> Rows:
    x = normal(len(times_us), seed, shift)
    buckets = np.random.default_rng(seed).integers(0, 16, len(times_us)).astype(np.uint8)
    return Rows(times_us, buckets, {"x": x, "y": x * np.float32(FACTOR)})


def told_of(known: Subject, *parts: Rows, settings: DriftSettings = OFF) -> tuple[Replay, list[Told]]:
    replay = Replay(known, settings)
    return replay, list(replayed(replay, parts))


def of(told: list[Told], kind: WindowKind, signal: str = "inputs") -> list[Told]:
    return [one for one in told if one.window is kind and one.signal == signal]


def minutes(count: int, rows: int = 200, start_us: int = MONDAY_US) -> np.ndarray:
    return start_us + np.arange(count * rows) * (MINUTE_US // rows)


def test_each_row_is_in_one_window_of_each_length(known: Subject) -> None:
    replay, told = told_of(known, rows_at(minutes(130)))
    assert replay.rows == 26_000
    for kind, windows in ((WindowKind.MINUTE, 130), (WindowKind.HOUR, 3), (WindowKind.DAY, 1), (WindowKind.WEEK, 1)):
        for signal in ("inputs", "predictions"):
            found = of(told, kind, signal)
            assert len(found) == windows
            assert sum(one.rows for one in found) == 26_000
    assert [one.whole for one in of(told, WindowKind.HOUR)] == [True, True, False]


def test_minutes_without_rows_are_windows_that_say_nothing(known: Subject) -> None:
    _, told = told_of(known, rows_at(minutes(2)), rows_at(minutes(1, start_us=MONDAY_US + 7 * MINUTE_US)))
    found = of(told, WindowKind.MINUTE)
    assert [one.rows for one in found] == [200, 200, 0, 0, 0, 0, 0, 200]
    assert {one.why for one in found[2:7]} == {"No rows in this window."}
    assert found[7].verdict is Verdict.QUIET


def test_a_pause_of_more_than_a_day_is_a_time_in_which_nothing_was_served(known: Subject) -> None:
    later_us = MONDAY_US + 30 * DAY_US
    replay, told = told_of(known, rows_at(minutes(5)), rows_at(minutes(5, start_us=later_us)))
    assert replay.pauses == [((MONDAY_US + 5 * MINUTE_US) * 1000, later_us * 1000)]
    assert replay.pauses[0][1] - replay.pauses[0][0] > IDLE_NS_MAX
    assert len(of(told, WindowKind.MINUTE)) == 10
    assert [one.rows for one in of(told, WindowKind.WEEK)] == [1000, 1000]


def test_an_alarm_ends_nothing_and_the_policy_cools_down(known: Subject) -> None:
    quiet, shifted = rows_at(minutes(20)), rows_at(minutes(40, start_us=MONDAY_US + 20 * MINUTE_US), 1.0)
    settings = DriftSettings(season="off", days_without_false_alarm=1.0, cool_down_s=900.0)
    _, told = told_of(known, quiet, shifted, settings=settings)
    drifted = [one for one in of(told, WindowKind.MINUTE) if one.verdict is Verdict.DRIFT]
    assert {one.names for one in drifted} == {("height",)}
    assert drifted[0].start_utc_ns >= (MONDAY_US + 20 * MINUTE_US) * 1000
    alerts = [one for one in told if one.signal == "inputs" and one.asked.response is Response.ALERT]
    asked = [one.at_utc_ns for one in alerts if one.whole]
    assert len(asked) == 3, "in 40 minutes of drift, 15 apart"
    assert min(np.diff(asked)) >= 900 * 10**9
    assert all(one.largest is not None and one.largest.feature == "height" for one in drifted)
    assert all(one.largest is not None and one.largest.psi > 0.2 for one in drifted)


def test_a_dry_run_tells_what_it_would_do(known: Subject) -> None:
    settings = DriftSettings(season="off", days_without_false_alarm=1.0, inputs="hold", dry_run=True)
    _, told = told_of(known, rows_at(minutes(10), 1.0), settings=settings)
    asked = [one.asked for one in told if one.asked.response is Response.HOLD]
    assert asked
    assert all(one.dry_run and one.why.startswith("Dry run: would hold") for one in asked)


def test_a_signal_that_is_off_is_not_judged(known: Subject) -> None:
    settings = DriftSettings(season="off", predictions="off")
    _, told = told_of(known, rows_at(minutes(3)), settings=settings)
    assert {one.signal for one in told} == {"inputs"}
    assert unjudged(known, settings) == ("predictions are not judged: drift.predictions is off",)
    with pytest.raises(NothingToCompare, match=r"drift\.inputs is off; .*drift\.predictions is off"):
        unjudged(known, DriftSettings(inputs="off", predictions="off"))


def test_an_hour_is_learnt_before_it_is_judged_and_then_judged_by_itself(known: Subject) -> None:
    """Two weeks' Mondays of one hour each, whose rows are unlike the reference: usual then, if season is learnt."""
    parts = [
        rows_at(minutes(60, rows=400, start_us=MONDAY_US + week * 7 * DAY_US), 0.7, seed=week) for week in range(2)
    ]
    settings = DriftSettings(days_without_false_alarm=1.0, predictions="off")
    _, told = told_of(known, *parts, settings=settings)
    first, second = of(told, WindowKind.HOUR)
    assert first.verdict is Verdict.NOT_ENOUGH
    assert first.why.startswith("Still learning what is usual at this hour of the week")
    assert second.verdict is Verdict.QUIET
    _, without = told_of(known, *parts, settings=DriftSettings(season="off", days_without_false_alarm=1.0))
    assert of(without, WindowKind.HOUR)[1].verdict is Verdict.DRIFT


def test_rows_that_step_back_are_our_own_mistake(known: Subject) -> None:
    replay = Replay(known, OFF)
    list(replay.add(rows_at(minutes(1))))
    with pytest.raises(AssertionError, match="rows follow each other"):
        list(replay.add(rows_at(minutes(1))))


# --- What there is to compare with ----------------------------------------------------------------------------------
def test_a_reference_that_is_too_small_is_refused_with_the_number_that_it_takes(tmp_path: Path) -> None:
    small = subject(tmp_path, normal(700, 1), bins=4, tau=0.1)
    assert unjudged(small, DriftSettings(tau=0.1)) == ()
    expected = r"expected at least [\d,]+ rows for its \d+ bins and tau = 0\.01, got 700"
    with pytest.raises(NothingToCompare, match=expected):
        unjudged(small, DriftSettings(tau=0.01))


def test_a_bundle_without_a_baseline_is_refused(known: Subject) -> None:
    from dataclasses import replace

    files = {name: data for name, data in known.bundle.files.items() if name != "baseline.json"}
    with pytest.raises(NothingToCompare, match=r"its bundle has no baseline\.json, and drift is not seen"):
        subject_of("scaled", replace(known.bundle, files=files))


def test_the_rows_of_a_stream_are_read_as_they_are_needed(known: Subject) -> None:
    given: list[int] = []

    def stream() -> Iterator[Rows]:
        for number in range(3):
            given.append(number)
            yield rows_at(minutes(2, start_us=MONDAY_US + number * HOUR_US))

    found = replayed(Replay(known, OFF), stream())
    next(found)
    assert given == [0]
