"""Window: what was counted of a signal in one stretch of time, split into blocks in one or two ways.

Made by control and by the replay from differences of cumulative counts. Pure values.
Always: counts of at least 0; the bins are those of the baseline, not merged yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from server.judgement.drift.layout import Integers


@dataclass(frozen=True, eq=False)
class Window:
    """by_key: int64[G, T], rows by buckets of a hash of their key; one block where only sums were kept.

    by_time: int64[S, T], the same rows by slices of time, or None where there are none. Both add up to the same counts.
    """

    by_key: Integers
    by_time: Integers | None = None

    def __post_init__(self) -> None:
        for name, blocks in (("by_key", self.by_key), ("by_time", self.by_time)):
            if blocks is None:
                continue
            if blocks.ndim != 2 or blocks.shape[0] < 1:
                raise ValueError(f"{name}: expected blocks by bins, got an array of shape {blocks.shape}")
            if (blocks < 0).any():
                raise ValueError(
                    f"{name}: expected counts of at least 0, got {int(blocks.min())}. Cumulative counts only grow: "
                    "take differences within one generation"
                )
        if self.by_time is not None and not np.array_equal(self.by_key.sum(axis=0), self.by_time.sum(axis=0)):
            raise ValueError("by_time: expected the rows of by_key, got others. Take both from the same readings")

    @cached_property
    def counts(self) -> Integers:
        """int64[T]."""
        return np.asarray(self.by_key.sum(axis=0))
