"""Layout: where each feature's bins lie in a flat vector of counts.

Used by all of this room. Features follow each other, and so do their bins: f has those from offsets[f] to below
offsets[f + 1].
Always: every feature has a bin at least, and every function takes leading axes (windows, blocks, hours).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Layout:
    """offsets: int64[F + 1], from 0, increasing."""

    offsets: Integers

    def __post_init__(self) -> None:
        found = self.offsets
        if found.ndim != 1 or found.size < 2 or found[0] != 0 or not (np.diff(found) > 0).all():
            raise ValueError(
                f"offsets: expected whole numbers that increase from 0, one more than features, got {found.tolist()}. "
                "Every feature has a bin at least"
            )

    @property
    def features(self) -> int:
        return int(self.offsets.size - 1)

    @property
    def bins(self) -> int:
        return int(self.offsets[-1])

    @cached_property
    def widths(self) -> Integers:
        """int64[F]: bins of each feature."""
        return np.diff(self.offsets)

    def sum(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """values[..., T] added up by feature: [..., F]."""
        return np.add.reduceat(values, self.offsets[:-1], axis=-1)

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """values[..., F], each repeated for all bins of its feature: [..., T]."""
        return np.repeat(values, self.widths, axis=-1)
