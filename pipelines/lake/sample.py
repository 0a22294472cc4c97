"""Sample: a part of a load for quick runs. Used by the examples' sources. Always: of the rows and their order alone."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def evenly_spread(records: pa.Table, rows_max: int | None) -> pa.Table:
    """At most so many of the rows, in their order; all where `rows_max` is None."""
    # Not the first ones: files are sorted by place or by time, and what comes first is unlike the rest.
    if rows_max is None or records.num_rows <= rows_max:
        return records
    return records.take(np.linspace(0, records.num_rows - 1, rows_max).astype(np.int64))
