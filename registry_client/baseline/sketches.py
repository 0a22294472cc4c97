"""Sketches: the distribution of more numbers than one wants to keep, within a known error of rank.

KLL of Apache DataSketches (Karnin, Lang & Liberty, Optimal Quantile Approximation in Streams, FOCS 2016). Used by
`summary.py` once a column has too many distinct values to count each. The library is imported here and nowhere else.
Always: a sketch's levels have weights that add up to the numbers that went in. KLL draws random bits that cannot be
seeded, so that two sketches of the same numbers differ within the error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from registry_client.errors import MissingLibrary

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Sketch:
    """A KLL sketch of finite float64 numbers. size: its parameter k, 8 to 65,535; it keeps about 3 k numbers."""

    def __init__(self, size: int) -> None:
        self._library = _library()
        self._sketch = self._library.kll_doubles_sketch(size)

    @property
    def rank_error(self) -> float:
        """By how much of all numbers the count between any two points may be off; holds in 99 of 100 sketches."""
        return float(self._sketch.normalized_rank_error(True)) if self._sketch.is_estimation_mode() else 0.0

    def add(self, values: Floats) -> None:
        """values: float64[n], finite."""
        self._sketch.update(np.ascontiguousarray(values))

    def add_levels(self, values: Floats, counts: Integers) -> None:
        """values[i], counts[i] times. By doubling, since a count may be far more than what one wants to repeat."""
        repeated = Sketch(self._sketch.k)
        for bit in reversed(range(int(counts.max(initial=0)).bit_length())):
            repeated.merge(repeated._copy())
            repeated.add(values[counts >> bit & 1 == 1])
        self.merge(repeated)

    def merge(self, other: Sketch) -> None:
        self._sketch.merge(other._sketch)

    def levels(self) -> tuple[Floats, Integers]:
        """float64[m] rising, and int64[m]: numbers that stand for all, and how many each stands for.

        The least and the greatest are exact; they stand for none where the sketch has not kept them.
        """
        kept = [value for value, _ in self._sketch]
        values = np.unique(np.array([self._sketch.get_min_value(), *kept, self._sketch.get_max_value()]))
        # Not the weights that come with the values: after a merge that leaves the first level empty all of them are 1
        # (datasketches 5.2; test_two_sketches_merged_stand_for_all_numbers). The ranks are right.
        ranks = np.array(self._sketch.get_cdf(values, True)[:-1])
        return values, np.diff(np.rint(ranks * self._sketch.n).astype(np.int64), prepend=0)

    def _copy(self) -> Sketch:
        copied = Sketch(self._sketch.k)
        copied._sketch.merge(self._sketch)
        return copied


def _library() -> Any:
    try:
        import datasketches
    except ImportError as error:
        raise MissingLibrary(
            "datasketches", expected="the library to be installed", got=f"{error}",
            hint="A column has more distinct values than are counted one by one: "
            "pip install 'roost-server[baseline]'.",
        ) from error  # fmt: skip
    return datasketches
