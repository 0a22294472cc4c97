"""The signals of an artifact: which of its features are judged together, and against what. Pure.

Used by `watching`. Always: inputs come first in the flat counts, then predictions, as in `baselines`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from server.control.drift.baselines import ArtifactBaseline
from server.control.drift.windows import HOUR_NS, MONDAY_NS, Window
from server.judgement.drift.policy import INPUTS, PREDICTIONS
from server.judgement.drift.reference import HOURS_OF_WEEK, Reference, reference_of
from server.judgement.drift.window import Window as JudgedWindow


@dataclass(frozen=True, eq=False)
class Signal:
    """name: INPUTS or PREDICTIONS. bins: its part of the flat counts."""

    name: str
    bins: slice
    reference: Reference

    def window(self, window: Window) -> JudgedWindow:
        """Its part of a window, with its blocks."""
        by_time = window.blocks_by_time[:, self.bins] if window.blocks_by_time.shape[0] > 1 else None
        return JudgedWindow(window.blocks_by_key[:, self.bins], by_time)


def signals_of(artifact: ArtifactBaseline) -> tuple[Signal, ...]:
    """Inputs, and predictions where the baseline has any. Raises ValueError where a reference can't be judged by."""
    first, count = artifact.inputs, len(artifact.features)
    parts = [(INPUTS, 0, first), (PREDICTIONS, first, count)]
    return tuple(_signal(artifact, name, start, stop) for name, start, stop in parts if stop > start)


def _signal(artifact: ArtifactBaseline, name: str, start: int, stop: int) -> Signal:
    features = artifact.features[start:stop]
    bins = slice(int(artifact.offsets[start]), int(artifact.offsets[stop]))
    hours = [np.array(one.by_hour, dtype=np.int64) for one in features if one.by_hour is not None]
    reference = reference_of(
        [feature.name for feature in features],
        artifact.offsets[start : stop + 1] - artifact.offsets[start],
        artifact.reference[bins],
        [feature.importance for feature in features],
        np.concatenate(hours, axis=1) if len(hours) == len(features) else None,
    )
    return Signal(name, bins, reference)


def hour_of_week(window: Window) -> int:
    """0 to 167, since Monday 0:00 UTC: the hour in which the window's middle lies."""
    return (window.middle_utc_ns - MONDAY_NS) // HOUR_NS % HOURS_OF_WEEK
