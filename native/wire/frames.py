"""gRPC frames: one flag byte, four bytes of big-endian length, the message.

Used by the HTTP/2 callbacks, while bytes come in (`frame_flag`, `frame_length`) and when a stream has ended
(`unary_state`). Source: "gRPC over HTTP/2", Length-Prefixed-Message. Oracle: tests/oracles/frames.py.
Always: a length is compared with the bound before anybody computes with it or makes room for it.
"""

from __future__ import annotations

from native.inner import inner
from native.wire.codes import (
    BAD_FLAG,
    COMPRESSED,
    CUT_SHORT,
    FRAME_HEADER_BYTES,
    NEED_MORE,
    NO_MESSAGE,
    PLAIN,
    TAIL,
    TOO_LONG,
)
from native.wire.kernel import Bytes, int64


@inner("int64(uint8[::1], int64, int64)")
def frame_flag(buffer: Bytes, start: int, end: int) -> int:
    """PLAIN or COMPRESSED, or NEED_MORE where there is no byte yet, or BAD_FLAG.

    buffer: uint8[n], borrowed. start, end: 0 <= start <= end <= n.
    """
    if start >= end:
        return NEED_MORE
    flag = int64(buffer[start])
    if flag == 0:
        return PLAIN
    if flag == 1:
        return COMPRESSED
    return BAD_FLAG


@inner("int64(uint8[::1], int64, int64, int64)")
def frame_length(buffer: Bytes, start: int, end: int, message_bytes_max: int) -> int:
    """The length of the message whose frame begins at `start`, or NEED_MORE (header incomplete), or TOO_LONG.

    buffer: uint8[n], borrowed. start, end: 0 <= start <= end <= n. The message itself need not be there yet.
    message_bytes_max: bound on the message in bytes, header not counted.
    """
    if end - start < FRAME_HEADER_BYTES:
        return NEED_MORE
    length = (
        int64(buffer[start + 1]) << 24
        | int64(buffer[start + 2]) << 16
        | int64(buffer[start + 3]) << 8
        | int64(buffer[start + 4])
    )
    if length > message_bytes_max:
        return TOO_LONG
    return length


@inner("int64(uint8[::1], int64, int64, int64)")
def unary_state(buffer: Bytes, start: int, end: int, message_bytes_max: int) -> int:
    """What the whole body of a unary request is, once its stream has ended.

    PLAIN or COMPRESSED where it is exactly one frame, whose message is buffer[start + FRAME_HEADER_BYTES:end]. Else
    NO_MESSAGE (no byte at all), BAD_FLAG, TOO_LONG, CUT_SHORT (less than one frame), TAIL (more than one).
    """
    if start >= end:
        return NO_MESSAGE
    flag = frame_flag(buffer, start, end)
    if flag < 0:
        return flag
    length = frame_length(buffer, start, end, message_bytes_max)
    if length == NEED_MORE:
        return CUT_SHORT
    if length < 0:
        return length
    carried = end - start - FRAME_HEADER_BYTES
    if carried < length:
        return CUT_SHORT
    if carried > length:
        return TAIL
    return flag
