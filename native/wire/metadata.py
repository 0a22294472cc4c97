"""Request headers that decide what happens to a call: `:path`, `content-type`, `grpc-timeout`.

Used by the HTTP/2 callbacks, which hand over a header's value where it lies.
Source: "gRPC over HTTP/2", Requests. Oracle: tests/oracles/metadata.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from native.inner import inner
from native.wire.codes import BAD_TIMEOUT, NO_METHOD
from native.wire.fields import bytes_equal
from native.wire.kernel import Bytes, Words, int64

TIMEOUT_DIGITS_MAX: Final = 8
# The longest wait that int64 nanoseconds hold; 99,999,999 hours would be 39 times as long.
TIMEOUT_NS_MAX: Final = 2**63 - 1

_CONTENT_TYPE: Final = tuple(b"application/grpc")
_PLUS: Final = ord("+")
_SEMICOLON: Final = ord(";")
_ZERO: Final = ord("0")
_NINE: Final = ord("9")
_HOURS: Final = ord("H")
_MINUTES: Final = ord("M")
_SECONDS: Final = ord("S")
_MILLISECONDS: Final = ord("m")
_MICROSECONDS: Final = ord("u")
_NANOSECONDS: Final = ord("n")


def method_table(paths: Sequence[str]) -> tuple[Words, Bytes]:
    """(spans, text) of exact paths for `method_of`; spans is int64[2 x paths]: offset and length of each."""
    spans: list[int] = []
    text = bytearray()
    for path in paths:
        encoded = path.encode("ascii")
        spans += (len(text), len(encoded))
        text += encoded
    return np.array(spans, dtype=np.int64), np.frombuffer(bytes(text) or b"\0", dtype=np.uint8).copy()


@inner("int64(uint8[::1], int64, int64, int64[::1], uint8[::1])")
def method_of(path: Bytes, start: int, end: int, spans: Words, text: Bytes) -> int:
    """Index of the path in the table, exact to the byte, or NO_METHOD.

    spans, text: what `method_table` made. A path is no longer than 2^31 - 1 bytes; libnghttp2 sees to that.
    """
    length = end - start
    for index in range(spans.shape[0] // 2):
        if spans[2 * index + 1] == length and bytes_equal(path, start, text, spans[2 * index], length):
            return index
    return NO_METHOD


@inner("boolean(uint8[::1], int64, int64)")
def content_type_ok(value: Bytes, start: int, end: int) -> bool:
    """True for `application/grpc` by itself or followed by '+' (a format) or ';' (a parameter)."""
    length = len(_CONTENT_TYPE)
    if end - start < length:
        return False
    for index in range(length):
        if value[start + index] != _CONTENT_TYPE[index]:
            return False
    if end - start == length:
        return True
    follows = int64(value[start + length])
    return follows in (_PLUS, _SEMICOLON)


@inner("int64(uint8[::1], int64, int64)")
def timeout_ns(value: Bytes, start: int, end: int) -> int:
    """Nanoseconds of a `grpc-timeout` value, at most TIMEOUT_NS_MAX, or BAD_TIMEOUT.

    One to eight digits and one unit of H M S m u n. Zero is a timeout: it has run out already.
    """
    digits = end - start - 1
    if digits < 1 or digits > TIMEOUT_DIGITS_MAX:
        return BAD_TIMEOUT
    count = int64(0)
    for position in range(start, end - 1):
        digit = int64(value[position])
        if digit < _ZERO or digit > _NINE:
            return BAD_TIMEOUT
        count = count * 10 + (digit - _ZERO)
    unit = int64(value[end - 1])
    if unit == _NANOSECONDS:
        unit_ns = int64(1)
    elif unit == _MICROSECONDS:
        unit_ns = int64(1_000)
    elif unit == _MILLISECONDS:
        unit_ns = int64(1_000_000)
    elif unit == _SECONDS:
        unit_ns = int64(1_000_000_000)
    elif unit == _MINUTES:
        unit_ns = int64(60_000_000_000)
    elif unit == _HOURS:
        unit_ns = int64(3_600_000_000_000)
    else:
        return BAD_TIMEOUT
    if count > TIMEOUT_NS_MAX // unit_ns:
        return TIMEOUT_NS_MAX
    return count * unit_ns
