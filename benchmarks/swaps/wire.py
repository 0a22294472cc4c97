"""Kernels of the caller: requests written, replies read and checked, without Python per request.

Used by `benchmarks.swaps.caller`. HTTP/2 frames are written from a template and read as they lie; nothing here is
shared with the server's kernels. Our SETTINGS allow the peer no dynamic table, so that a good call's trailers are the
same bytes every time. Always: each stream is counted exactly once, as right, wrong, or failed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.int64]

WIDTH: Final = 4
VALUES_END: Final = 1024
KEY_DIGITS: Final = 8
STREAMS: Final = 1 << 16  # remembered of a connection; a call that is in flight for longer holds the others up
STREAM_MASK: Final = STREAMS - 1
FRAME_HEAD: Final = 9
BLOCK_BYTES_MAX: Final = 512

# A connection's words.
NEXT_STREAM, IN_FLIGHT, CREDIT, LENT, GOING_AWAY, NUMBER, KEYS, SEED = range(8)
CONNECTION_WORDS: Final = 8

# What a call is remembered by, in `calls[stream >> 1 & STREAM_MASK]`: when it was due (0: no call), what its reply's
# version was (0: none came yet), and whether its values were right.
DUE, VERSION, RIGHT = range(3)

# Counts that the reader keeps.
COUNT_FAILED, COUNT_LOGGED, COUNT_FAILURES, COUNT_PINGS, COUNT_SETTINGS, COUNT_BAD_FRAMES, COUNT_ANSWERED = range(7)
COUNTS: Final = 8

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM: Final = 1


@njit("int64(int64, int64, int64)", nogil=True, cache=True, error_model="numpy")
def mixed(seed: int, connection: int, stream: int) -> int:
    """63 bits that look random, the same each time for the same call."""
    word = np.uint64(seed) + np.uint64(connection) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(stream)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((word ^ (word >> np.uint64(31))) >> np.uint64(1))


@njit("int64(int64, int64, int64)", nogil=True, cache=True, error_model="numpy")
def value_at(word: int, index: int, keys: int) -> int:
    """The input's element: the first one is the key's number, modulo VALUES_END, where there are keys."""
    if keys > 0 and index == 0:
        return (word % keys) % VALUES_END
    return (word >> (10 * index)) % VALUES_END


@njit(
    "int64(int64[::1], int64[:,::1], uint8[::1], int64[::1], uint8[::1], int64, int64, int64)",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def write_requests(
    connection: Words, calls: Words, template: Bytes, places: Words, out: Bytes, most: int, due_ns: int, bound: int
) -> int:
    """Writes up to `most` requests to `out`, all due at `due_ns`; how many.

    places: in the template, of both stream numbers, of the values, and of the key (-1: none). bound: calls in flight.
    """
    size = template.size
    data_bytes = size - places[1] + 5 - FRAME_HEAD
    written = 0
    while written < most and (written + 1) * size <= out.size:
        stream = connection[NEXT_STREAM]
        call = (stream >> 1) & STREAM_MASK
        if connection[IN_FLIGHT] >= bound or connection[CREDIT] < data_bytes or calls[call, DUE] != 0:
            break
        at = written * size
        out[at : at + size] = template
        for which in range(2):
            for byte in range(4):
                out[at + places[which] + byte] = (stream >> (24 - 8 * byte)) & 255
        word = mixed(connection[SEED], connection[NUMBER], stream)
        for index in range(WIDTH):
            bits = np.float32(value_at(word, index, connection[KEYS])).view(np.uint32)
            for byte in range(4):
                out[at + places[2] + 4 * index + byte] = (bits >> np.uint32(8 * byte)) & np.uint32(255)
        if places[3] >= 0:
            key = word % connection[KEYS]
            for digit in range(KEY_DIGITS):
                out[at + places[3] + KEY_DIGITS - 1 - digit] = 48 + key % 10
                key //= 10
        calls[call, DUE] = due_ns
        calls[call, VERSION] = 0
        calls[call, RIGHT] = 0
        connection[NEXT_STREAM] = stream + 2
        connection[IN_FLIGHT] += 1
        connection[CREDIT] -= data_bytes
        written += 1
    return written


@njit("int64(uint8[::1], int64, int64, int64[::1])", nogil=True, cache=True, error_model="numpy")
def read_varint(buffer: Bytes, at: int, end: int, out: Words) -> int:
    """Offset behind the varint, its value in out[0]; -1 where there is none."""
    value = 0
    shift = 0
    while at < end and shift < 63:
        byte = np.int64(buffer[at])
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            out[0] = value
            return at
        shift += 7
    return -1


@njit("int64(uint8[::1], int64, int64, int64, int64[::1])", nogil=True, cache=True, error_model="numpy")
def find_field(buffer: Bytes, at: int, end: int, number: int, span: Words) -> int:
    """1 where the message has this length-delimited field: span[0:2] is its first one. 0: no; -1: no message."""
    while at < end:
        at = read_varint(buffer, at, end, span)
        if at < 0:
            return -1
        key = span[0]
        at = read_varint(buffer, at, end, span)
        if at < 0:
            return -1
        if key & 7 == 0:
            continue
        if key & 7 != 2 or span[0] < 0 or span[0] > end - at:
            return -1
        if key >> 3 == number:
            span[1] = at + span[0]
            span[0] = at
            return 1
        at += span[0]
    return 0


@njit(
    "void(uint8[::1], int64, int64, int64[::1], int64[:,::1], int64, int64[::1])",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def read_reply(
    buffer: Bytes, start: int, end: int, connection: Words, calls: Words, stream: int, factors: Words
) -> None:
    """Reads a PredictReply: its version, and whether its values are that version's."""
    call = (stream >> 1) & STREAM_MASK
    span = np.zeros(2, np.int64)
    if end - start < 5 or calls[call, VERSION] != 0:  # too short, or a second message
        calls[call, VERSION] = -1
        calls[call, RIGHT] = 0
        return
    length = 0
    for byte in range(1, 5):
        length = (length << 8) | np.int64(buffer[start + byte])
    if buffer[start] != 0 or length != end - start - 5:
        calls[call, VERSION] = -1
        return
    start += 5
    version = 0
    if find_field(buffer, start, end, 2, span) == 1 and span[1] - span[0] < 9:
        for at in range(span[0], span[1]):
            version = version * 10 + np.int64(buffer[at]) - 48
    calls[call, VERSION] = -1
    if version < 1 or version >= factors.size or find_field(buffer, start, end, 6, span) != 1:
        return
    if find_field(buffer, span[0], span[1], 4, span) != 1 or span[1] - span[0] != 4 * WIDTH:
        return
    calls[call, VERSION] = version
    word = mixed(connection[SEED], connection[NUMBER], stream)
    for index in range(WIDTH):
        bits = np.uint32(0)
        for byte in range(4):
            bits |= np.uint32(buffer[span[0] + 4 * index + byte]) << np.uint32(8 * byte)
        wanted = np.float32(factors[version] * value_at(word, index, connection[KEYS]))
        if bits != wanted.view(np.uint32):
            return
    calls[call, RIGHT] = 1


@njit(
    "int64(uint8[::1], int64, int64[::1], int64[:,::1], int64[::1], uint8[::1], int64[:,::1], int64[::1],"
    " int64[:,::1], uint8[:,::1], int64[:,::1], uint8[::1], int64)",
    nogil=True,
    cache=True,
    error_model="numpy",
)
def read_frames(
    buffer: Bytes,
    end: int,
    connection: Words,
    calls: Words,
    factors: Words,
    good_trailers: Bytes,
    by_version: Words,
    counts: Words,
    log: Words,
    failed_blocks: Bytes,
    failures: Words,
    ping: Bytes,
    now_ns: int,
) -> int:
    """Reads all frames that are whole in buffer[:end]; the offset of the first that is not.

    by_version: [versions, 2], right and wrong answers; 0 is no version. log: [calls, 4], due, answered, version and
    whether it was right, while there is room.
    failures: [failures, 3], due, answered, bytes of the header block in `failed_blocks` (0: the stream was reset).
    """
    at = 0
    while end - at >= FRAME_HEAD:
        length = (np.int64(buffer[at]) << 16) | (np.int64(buffer[at + 1]) << 8) | np.int64(buffer[at + 2])
        if length > end - at - FRAME_HEAD:
            break
        kind, flags = np.int64(buffer[at + 3]), np.int64(buffer[at + 4])
        stream = np.int64(0)
        for byte in range(5, 9):
            stream = (stream << 8) | np.int64(buffer[at + byte])
        stream &= 0x7FFFFFFF
        start = at + FRAME_HEAD
        at = start + length
        call = (stream >> 1) & STREAM_MASK
        if kind == DATA:
            connection[LENT] += length
            if calls[call, DUE] != 0:
                read_reply(buffer, start, at, connection, calls, stream, factors)
        elif kind in (HEADERS, RST_STREAM):
            if (kind == HEADERS and flags & END_STREAM == 0) or calls[call, DUE] == 0:
                continue
            good = kind == HEADERS and length == good_trailers.size and calls[call, VERSION] != 0
            if good:
                for byte in range(length):
                    if buffer[start + byte] != good_trailers[byte]:
                        good = False
            version = calls[call, VERSION]
            if good:
                counts[COUNT_ANSWERED] += 1
                if version < 0:
                    version = 0
                by_version[version, 0 if calls[call, RIGHT] == 1 else 1] += 1
                if counts[COUNT_LOGGED] < log.shape[0]:
                    entry = counts[COUNT_LOGGED]
                    log[entry, 0] = calls[call, DUE]
                    log[entry, 1] = now_ns
                    log[entry, 2] = version
                    log[entry, 3] = calls[call, RIGHT]
                    counts[COUNT_LOGGED] += 1
            else:
                counts[COUNT_FAILED] += 1
                if counts[COUNT_FAILURES] < failures.shape[0]:
                    entry = counts[COUNT_FAILURES]
                    failures[entry, 0] = calls[call, DUE]
                    failures[entry, 1] = now_ns
                    failures[entry, 2] = min(length, BLOCK_BYTES_MAX) if kind == HEADERS else 0
                    for byte in range(failures[entry, 2]):
                        failed_blocks[entry, byte] = buffer[start + byte]
                    counts[COUNT_FAILURES] += 1
            calls[call, DUE] = 0
            connection[IN_FLIGHT] -= 1
        elif kind == WINDOW_UPDATE and length == 4:
            if stream == 0:
                grown = np.int64(0)
                for byte in range(4):
                    grown = (grown << 8) | np.int64(buffer[start + byte])
                connection[CREDIT] += grown & 0x7FFFFFFF
        elif kind == SETTINGS:
            if flags & 1 == 0:
                counts[COUNT_SETTINGS] += 1
        elif kind == PING:
            if flags & 1 == 0 and length == 8:
                ping[:8] = buffer[start : start + 8]
                counts[COUNT_PINGS] += 1
        elif kind == GOAWAY:
            connection[GOING_AWAY] = 1
        else:
            counts[COUNT_BAD_FRAMES] += 1
    return at
