"""The calibration of drift keeps its promises, notices one that is broken, and simulates what it says it does."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import calibrate
from benchmarks.calibration import drift_streams
from benchmarks.calibration.drift_promises import DriftAnswer, DriftAsked, DriftQuestion, answered_drift
from benchmarks.calibration.drift_streams import Became, run
from benchmarks.calibration.drift_worlds import DriftWorld, Shift, Stream
from server.judgement.drift.limits import Limits
from server.judgement.drift.psi import psi, shares

SMALL = DriftWorld(4, 500)


def answer(became, asked=DriftAsked.QUIET, windows=1_000, **more):
    return DriftAnswer(DriftQuestion("one", asked, SMALL, len(became), **more), windows, tuple(became))


def test_a_quick_calibration_of_drift_keeps_every_promise_and_writes_what_it_found(tmp_path, capsys, monkeypatch):
    left_out = ("200 features", "10,000 rows", " 100 rows")  # what takes long, and is asked in the full run
    asked = [one for one in calibrate.drift_questions() if not any(part in f" {one.name}" for part in left_out)]
    monkeypatch.setattr(calibrate, "drift_questions", lambda: asked)
    monkeypatch.setattr(calibrate, "DRIFT_QUICK", (0.05, 30))
    out = tmp_path / "calibration.json"
    assert calibrate.main(["--quick", "--only", "drift", "--out", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["passed"] is True
    assert (len(found["drift"]), found["answers"]) == (len(asked), [])
    assert {one["asked"] for one in found["drift"]} == {"quiet", "control", "found", "same", "model"}
    printed = capsys.readouterr().out
    assert "BROKEN" not in printed
    assert "Quiet streams of windows: alarmed" in printed


def test_a_broken_promise_about_drift_ends_the_calibration_with_an_error(tmp_path, capsys, monkeypatch):
    loose = DriftQuestion("too soon", DriftAsked.FOUND, SMALL, 4, Shift(1, sigmas=0.1), median_max=1)
    monkeypatch.setattr(calibrate, "drift_questions", lambda: [loose])
    assert calibrate.main(["--quick", "--only", "drift", "--out", str(tmp_path / "calibration.json")]) == 1
    assert "BROKEN: Shifted streams of 16 features: windows until the alarm: too soon" in capsys.readouterr().out


def test_a_detector_that_alarms_too_often_is_found_out_even_where_the_size_saves_it():
    quiet, detects, alarms = Became(), Became(detector=5), Became(alarm=5, detector=5)
    assert answer([quiet] * 40).kept is True
    assert answer([detects] * 9 + [quiet] * 31).kept is True
    assert answer([detects] * 10 + [quiet] * 30).kept is False
    assert answer([alarms] * 10 + [quiet] * 30).kept is False


def test_a_control_that_does_not_fail_is_an_alarm_of_its_own():
    assert answer([Became()] * 12, DriftAsked.CONTROL).kept is False
    assert answer([Became(alarm=1, detector=1)] * 12, DriftAsked.CONTROL).kept is True


def test_an_alarm_that_comes_too_late_is_found_out_and_never_is_later_than_all():
    soon, late = Became(alarm=0, detector=0), Became(alarm=9, detector=1)
    assert answer([soon] * 3, DriftAsked.FOUND, median_max=1).kept is True
    assert answer([late] * 3, DriftAsked.FOUND, median_max=9).kept is False
    assert answer([soon] * 3 + [Became()] * 4, DriftAsked.FOUND, median_max=1).kept is False
    assert answer([late] * 3, DriftAsked.FOUND, median_max=10, detector_max=1).kept is False
    assert answer([late] * 3, DriftAsked.FOUND).rows == 10 * SMALL.rows


@pytest.mark.parametrize("world", [SMALL, replace(SMALL, cluster=10), replace(SMALL, seasonal=True)])
def test_a_stream_is_the_same_for_the_same_seed_and_has_its_own_reference(world):
    one, again, other = (Stream(world, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert (one.window(0).by_key == again.window(0).by_key).all()
    assert (one.edges != other.edges).any()
    assert one.window(3).counts[: one.reference.raw.widths[0]].sum() == world.rows


def test_a_stream_s_reference_is_off_by_what_its_rows_allow_and_no_more():
    """PSI between truth and a reference of N rows is (B - 1)/N on average, a little more for the bin without any."""
    of_world = DriftWorld(16, 10_000_000, categories=False, reference_rows=10_000)
    found = []
    for seed in range(40):
        stream = Stream(of_world, np.random.default_rng(seed))
        of, layout = stream.reference, stream.reference.layout
        window = of.merged(stream.window(0).counts)
        found.append(psi(shares(window, layout), shares(of.counts, layout), layout).mean())
    assert np.mean(found) == pytest.approx(11.5 / 10_000, rel=0.15)


def test_values_of_a_window_are_counted_as_its_shares_say():
    world = DriftWorld(3, 20_000, categories=False)
    stream = Stream(world, np.random.default_rng(2))
    sigmas, missing = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.05, 0.0])
    counted = stream.counted(stream.values(sigmas, missing))
    drawn = stream.window(0, Shift(1, sigmas=1.0))
    of = stream.reference
    width = of.raw.widths[0]
    assert counted.counts[:width] == pytest.approx(drawn.counts[:width], abs=6 * np.sqrt(world.rows / 4))
    assert counted.counts[2 * width - 2] == pytest.approx(1_000, abs=200)
    assert counted.by_key.shape == drawn.by_key.shape


def test_an_eager_judge_is_found_out(monkeypatch):
    """At A = 2 the detector alarms within a few windows; the promise it is held against stays 1 in 10,000."""
    monkeypatch.setattr(drift_streams, "LIMITS", Limits(threshold=2.0))
    answers = answered_drift([DriftQuestion("eager", DriftAsked.QUIET, SMALL, 6)], 1.0, 100, None, lambda _: None)
    assert answers[0].kept is False


def test_a_shifted_stream_counts_from_its_shift():
    found = run(SMALL, np.random.default_rng(3), 30, Shift(1, sigmas=1.0))
    assert found.alarm == 0
    assert (found.named, found.named_wrongly) == (1, 0)
