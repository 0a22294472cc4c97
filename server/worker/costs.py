"""What a batch of a model costs, learned from the batches that ran.

Used by the batcher, to choose where a batch runs and to start nothing that can't finish in time. One estimate for each
power of two of rows, an exponentially weighted mean; between measured sizes the cost is taken to grow with the rows.
Pure: time comes in as measured nanoseconds.
"""

from __future__ import annotations

from typing import Final

BUCKETS: Final = 24
ROWS_MAX: Final = 1 << (BUCKETS - 1)
WEIGHT: Final = 0.2  # of the newest measurement: about ten batches are remembered


class CostModel:
    """Predicts nanoseconds of a batch from its rows, 1 to ROWS_MAX."""

    def __init__(self) -> None:
        self._cost_ns: list[float | None] = [None] * BUCKETS

    def observe(self, rows: int, cost_ns: int) -> None:
        """A batch of `rows` took `cost_ns`."""
        bucket = (rows - 1).bit_length()
        known = self._cost_ns[bucket]
        self._cost_ns[bucket] = float(cost_ns) if known is None else known + WEIGHT * (cost_ns - known)

    def doubt(self, rows: int) -> None:
        """A batch of `rows` was not even tried, because it was expected to come too late: expect a little less.

        Otherwise one hiccup would refuse every call with a deadline for ever, since nothing would be measured again.
        """
        bucket = (rows - 1).bit_length()
        self._cost_ns[bucket] = self.predict_ns(rows) * (1 - WEIGHT)

    def predict_ns(self, rows: int) -> int:
        """Expected cost. 0 before anything was observed: the first batch is tried where it stands."""
        bucket = (rows - 1).bit_length()
        exact = self._cost_ns[bucket]
        if exact is not None:
            return round(exact)
        for distance in range(1, BUCKETS):
            smaller, larger = bucket - distance, bucket + distance
            if smaller >= 0 and (cost := self._cost_ns[smaller]) is not None:
                # Cost per row only falls with size, so this is not below the truth.
                return round(cost * 2.0**distance)
            if larger < BUCKETS and (cost := self._cost_ns[larger]) is not None:
                return round(cost)
        return 0
