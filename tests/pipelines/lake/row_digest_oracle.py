"""Oracle of the content digest: row by row and value by value, from the text of `content_digest.py` alone."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

TAGS = {"int64": b"integer", "double": b"number", "string": b"text", "timestamp[us, tz=UTC]": b"time"}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def digest(columns: dict[str, tuple[str, list[Any]]], keys: Sequence[str]) -> str:
    """columns: by name, Arrow's name of the type and the values. Keys have no null, and no two rows the same."""
    count = len(next(iter(columns.values()))[1])
    rows = sorted(range(count), key=lambda row: [_order(columns[key][1][row]) for key in keys])
    content = _framed(b"roost rows 1") + _number(count) + _number(len(columns))
    for name in sorted(columns):
        kind, values = columns[name]
        values = [values[row] for row in rows]
        content += _framed(name.encode()) + _framed(TAGS[kind])
        bits = sum((value is not None) << row for row, value in enumerate(values))
        content += bits.to_bytes((count + 7) // 8, "little")
        if kind == "string":
            texts = [b"" if value is None else value.encode() for value in values]
            content += b"".join(_number(len(text)) for text in texts) + _framed(b"".join(texts))
        else:
            content += b"".join(_bytes(kind, value) for value in values)
    return hashlib.sha256(content).hexdigest()


def _order(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _bytes(kind: str, value: Any) -> bytes:
    if kind == "double":
        number = 0.0 if value is None or value == 0 else value
        return b"\0\0\0\0\0\0\xf8\x7f" if math.isnan(number) else struct.pack("<d", number)
    if kind.startswith("timestamp"):
        value = value and (value - EPOCH) // (datetime.resolution)
    return struct.pack("<q", value or 0)


def _framed(content: bytes) -> bytes:
    return _number(len(content)) + content


def _number(count: int) -> bytes:
    return struct.pack("<Q", count)
