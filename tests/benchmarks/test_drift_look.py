"""The benchmark of looks at drift: that it measures looks of every kind, in full."""

from __future__ import annotations

from benchmarks.drift_look import KINDS, MINUTES_AFTER, MINUTES_BEFORE, Watched, measured, shown
from server.control.drift.windows import SLICES_MIN, WindowKind
from server.judgement.drift.report import Verdict

MINUTES = MINUTES_BEFORE + MINUTES_AFTER


def test_looks_of_each_kind_are_measured_and_shown() -> None:
    found = measured(2, rounds=1)
    assert [len(found.looks[kind]) for kind in KINDS] == [MINUTES * (SLICES_MIN - 1), MINUTES - 1, 1]
    assert found.series == 2 * 3 * 14 + 2
    assert shown([found]).row_count == 1


def test_every_window_is_judged_in_full_and_none_is_still_being_learnt() -> None:
    watched = Watched(2, seed=1)
    seen = []
    for _ in range(MINUTES * SLICES_MIN):
        watched.count()
        seen += watched.look()
    assert {one.window.kind for one in seen} == set(WindowKind)
    assert {one.report.verdict for one in seen} == {Verdict.QUIET}
