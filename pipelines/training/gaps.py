"""Gaps: training rows shown once more with values missing, so that a network knows what a caller may lack.

Used by `stages/train.py` for networks; trees send what is missing down a branch of its own anyway. Always: the rows as
they are come first and stay as they are; which values go missing depends on the seed and the rows' order alone.

Flights without this: a tenth of all values missing cost 0.23 to 0.28 of a skill of 0.51, over four seeds, since a
departure's delay, which every record has, counted as the mean where a caller had none. With it 0.06 to 0.07, and the
skill on whole rows is none the worse; shares from 0.05 to 0.15 do alike, and trees lose 0.09.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.examples import Examples

REPEATED_SHARE: Final = 0.5
"""Of the rows, shown a second time. All of them again took twice the time, and gained nothing that a seed does not."""


def with_gaps(training: Examples, share: float, seed: int) -> Examples:
    """The rows, then half of them again, where each raw value is missing (NaN, or "" of texts) with chance `share`.

    The same rows alone where share is 0. A row that is shown again keeps its key.
    """
    if not share:
        return training
    random = np.random.default_rng(seed)
    repeated = np.sort(random.permutation(len(training))[: int(len(training) * REPEATED_SHARE)])
    shown = training.take(np.concatenate([np.arange(len(training)), repeated]))
    _leave_out(random, shown.numbers[len(training) :], share, np.nan)
    if shown.texts is not None:
        _leave_out(random, shown.texts[len(training) :], share, "")
    return shown


def _leave_out(random: np.random.Generator, values: npt.NDArray[Any], share: float, nothing: float | str) -> None:
    """In place: `take` has made a copy."""
    values[random.random(values.shape) < share] = nothing
