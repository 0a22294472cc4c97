"""Streams of drift, judged: when each alarms, when its detector alone would, and what the rules of thumb do meanwhile.

Used by `drift_promises`. The judge is the server's own, window after window, with its state.
Always: -1 stands for "never"; windows are counted from the stream's first, a delay from the shift's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.calibration.drift_worlds import NONE, WINDOW_S, WINDOWS_AN_HOUR, DriftWorld, Shift, Stream
from server.judgement.drift import state as states
from server.judgement.drift.judge import Judged, judge
from server.judgement.drift.limits import Limits
from server.judgement.drift.psi import LARGE_FROM, MODERATE_FROM
from server.judgement.drift.report import Verdict
from server.judgement.drift.season import judge_hour
from server.judgement.drift.window import Window

THRESHOLD: Final = 10_000.0
QUIET_BEFORE_SHIFT: Final = 20
LIMITS: Final = Limits(THRESHOLD)


@dataclass(frozen=True)
class Became:
    """alarm, detector, moderate: the first window with a verdict of drift, with R >= A, with a PSI of 0.1 anywhere.

    moderate_windows, large_windows: how many have a PSI of 0.1 and 0.2 anywhere. named, named_wrongly: features that
    the first alarm calls moved. judged: windows that there was enough for.
    """

    alarm: int = -1
    detector: int = -1
    moderate: int = -1
    moderate_windows: int = 0
    large_windows: int = 0
    named: int = 0
    named_wrongly: int = 0
    judged: int = 0


def without_dispersion(window: Window) -> Window:
    """What the server does not do: blocks that are all alike, so that rows count as independent."""
    blocks = window.by_key.shape[0]
    parts = np.tile(window.counts // blocks, (blocks, 1))
    parts[0] += window.counts % blocks
    return Window(parts)


def run(
    world: DriftWorld, rng: np.random.Generator, windows: int, shift: Shift = NONE, *, dispersion: bool = True
) -> Became:
    """One stream: quiet for `windows`, or quiet for QUIET_BEFORE_SHIFT and shifted until an alarm or the end.

    After a shift, windows before it are left out of what became of the stream.
    """
    stream = Stream(world, rng)
    state, limits = states.beginning(stream.reference), LIMITS
    season = stream.season() if world.seasonal and world.by_hour else None
    shifted = shift != NONE
    found = Became()
    start = -QUIET_BEFORE_SHIFT if shifted else 0
    for index in range(start, windows):
        window = stream.window(index - start, shift if shifted and index >= 0 else NONE)
        if not dispersion:
            window = without_dispersion(window)
        if season is None:
            judged = judge(stream.reference, window, state, limits)
        else:
            hour = (index - start) // WINDOWS_AN_HOUR % 24
            seasonal = judge_hour(season, stream.reference, hour, WINDOW_S, window, state, limits)
            season, judged = seasonal.season, seasonal.judged
        state = judged.state
        if index >= 0:
            found = _with(found, judged, index, shift)
        if shifted and found.alarm >= 0:
            break
    return found


def _with(found: Became, judged: Judged, index: int, shift: Shift) -> Became:
    report = judged.report
    if report.measured is None:
        return found
    largest = float(report.measured.psi.max())
    alarms = report.verdict is Verdict.DRIFT and found.alarm < 0
    moved = report.moved if alarms else ()
    wrong = sum(int(name.split()[1]) >= shift.features or not _can_move(name, shift) for name in moved)
    return Became(
        alarm=index if alarms else found.alarm,
        detector=index if found.detector < 0 and report.log_r >= report.limits.log_threshold else found.detector,
        moderate=index if found.moderate < 0 and largest >= MODERATE_FROM else found.moderate,
        moderate_windows=found.moderate_windows + (largest >= MODERATE_FROM),
        large_windows=found.large_windows + (largest >= LARGE_FROM),
        named=found.named + len(moved),
        named_wrongly=found.named_wrongly + wrong,
        judged=found.judged + 1,
    )


def _can_move(name: str, shift: Shift) -> bool:
    return name.startswith("category") == (shift.new_level > 0)
