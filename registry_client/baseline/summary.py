"""Summary: what has been seen of one column, small enough to keep and mergeable.

Used by `builder.py`, one for each column. While there are few distinct values each is counted, which is exact; after
that a sketch takes their place. Always: two summaries merged say what one over both parts says: the same where exact,
the same within the sketch's error otherwise; and whether they are exact does not depend on how the rows were parted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from registry_client.baseline.sketches import Sketch

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Summary:
    """distinct_max: so many distinct values are counted one by one. sketch_size: see `Sketch`.

    missing, non_finite: how many NaN and infinities there were.
    """

    def __init__(self, distinct_max: int, sketch_size: int) -> None:
        self._distinct_max, self._sketch_size = distinct_max, sketch_size
        self.missing = 0
        self.non_finite = 0
        self._values, self._counts = np.empty(0), np.empty(0, dtype=np.int64)
        self._sketch: Sketch | None = None

    @property
    def is_exact(self) -> bool:
        return self._sketch is None

    @property
    def rank_error(self) -> float:
        """By how much of all rows the count between two points may be off; 0 where exact."""
        return 0.0 if self._sketch is None else self._sketch.rank_error

    def add(self, values: Floats) -> None:
        """values: float64[n], of any kind. Rows in any order give the same summary while it is exact."""
        missing, finite = np.isnan(values), np.isfinite(values)
        self.missing += int(missing.sum())
        self.non_finite += values.size - int(missing.sum()) - int(finite.sum())
        kept = values[finite] + 0.0  # a negative zero equals zero, and must not be written otherwise
        if self._sketch is not None:
            self._sketch.add(kept)
        else:
            self._add_levels(*np.unique(kept, return_counts=True))

    def merge(self, other: Summary) -> None:
        """Take in what `other`, made with the same limits, has seen."""
        self.missing += other.missing
        self.non_finite += other.non_finite
        if other._sketch is None:
            self._add_levels(other._values, other._counts)
        else:
            self._to_sketch().merge(other._sketch)

    def levels(self) -> tuple[Floats, Integers]:
        """float64[m] rising, and int64[m]: finite values and how often they came; stand-ins where not exact."""
        return (self._values, self._counts) if self._sketch is None else self._sketch.levels()

    def _add_levels(self, values: Floats, counts: Integers) -> None:
        if self._sketch is not None:
            self._sketch.add_levels(values, counts)
            return
        places = np.searchsorted(self._values, values)
        known = np.zeros(values.size, dtype=np.bool_)
        within = places < self._values.size
        known[within] = self._values[places[within]] == values[within]
        self._counts[places[known]] += counts[known]
        if not known.all():
            self._values = np.insert(self._values, places[~known], values[~known])
            self._counts = np.insert(self._counts, places[~known], counts[~known])
        if self._values.size > self._distinct_max:
            self._to_sketch()

    def _to_sketch(self) -> Sketch:
        if self._sketch is None:
            self._sketch = Sketch(self._sketch_size)
            self._sketch.add_levels(self._values, self._counts)
            self._values, self._counts = np.empty(0), np.empty(0, dtype=np.int64)
        return self._sketch
