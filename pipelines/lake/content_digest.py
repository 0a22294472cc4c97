"""Content digest: a name for rows that depends on the rows alone, not on the files, loads or order they lie in.

Used by `table.py`, for each load, and by the snapshot stage, for the whole. Always: equal rows, as a bag, have one
digest; any changed value, null or column name gives another.

What is hashed: the columns in the order of their names, each with its name, its type's tag, which rows have a value,
and the values, with the length before everything whose length is not given by what came earlier; the rows in the order
of their keys, and of all other columns where keys are equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TAGS: Final[dict[pa.DataType, bytes]] = {
    pa.int64(): b"integer",
    pa.float64(): b"number",
    pa.string(): b"text",
    pa.timestamp("us", tz="UTC"): b"time",
}
FORM = b"roost rows 1"


def in_order(rows: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The rows in the order of their keys, columns as they are; rows that differ in no column may stand either way."""
    others = sorted(name for name in rows.column_names if name not in keys)
    order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in (*keys, *others)])
    return rows.take(order)


def content_digest(rows: pa.Table, keys: Sequence[str]) -> str:
    """sha256, hex. Columns are int64, float64, string or timestamp[us, UTC]; anything else is a TypeError."""
    return digest_of_ordered(in_order(rows, keys))


def digest_of_ordered(rows: pa.Table) -> str:
    """The same for rows that `in_order` gave, or a part of them that kept its order."""
    state = hashlib.sha256(_framed(FORM) + _number(rows.num_rows) + _number(rows.num_columns))
    for name in sorted(rows.column_names):
        column = rows[name].combine_chunks()
        if column.type not in TAGS:
            raise TypeError(f"{name}: expected {', '.join(map(str, TAGS))}, got {column.type}")
        state.update(_framed(name.encode()) + _framed(TAGS[column.type]))
        for part in _parts(column):
            state.update(part)
    return state.hexdigest()


def _parts(column: pa.Array) -> Iterator[bytes | memoryview]:
    """Which rows have a value, a bit each; then the values, those of nulls being zero or empty."""
    yield np.packbits(pc.is_valid(column).to_numpy(zero_copy_only=False), bitorder="little").tobytes()
    if pa.types.is_string(column.type):
        yield from _texts(column)
    elif pa.types.is_floating(column.type):
        values = pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False)
        # One NaN, and no negative zero: numbers that are equal have equal bytes.
        yield np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").tobytes()
    else:
        yield pc.fill_null(column.cast(pa.int64()), 0).to_numpy(zero_copy_only=False).astype("<i8").tobytes()


def _texts(column: pa.Array) -> Iterator[bytes | memoryview]:
    # Large: an Arrow string array ends at 2 GiB.
    filled = pc.fill_null(column.cast(pa.large_string()), "")
    yield pc.binary_length(filled).to_numpy(zero_copy_only=False).astype("<i8").tobytes()
    offsets = np.frombuffer(filled.buffers()[1], dtype="<i8")[filled.offset : filled.offset + len(filled) + 1]
    first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
    content = filled.buffers()[2]
    yield _number(last - first)
    yield memoryview(content)[first:last] if content is not None else b""


def _framed(content: bytes) -> bytes:
    return _number(len(content)) + content


def _number(count: int) -> bytes:
    return count.to_bytes(8, "little")
