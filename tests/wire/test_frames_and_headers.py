"""Frames and request headers at the edges that the specification names."""

from __future__ import annotations

import pytest

from native.wire import codes
from native.wire.frames import frame_flag, frame_length, unary_state
from native.wire.metadata import TIMEOUT_NS_MAX, content_type_ok, timeout_ns
from tests.wire.row import array


def whole(kernel: object, content: bytes, *rest: int) -> int:
    return kernel(array(content), 0, len(content), *rest)  # type: ignore[operator, no-any-return]


def test_codes_differ_and_are_negative() -> None:
    values = [value for name, value in vars(codes).items() if name.isupper() and isinstance(value, int) and value < 0]
    assert len(values) == len(set(values)) == 10


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (b"", codes.NO_MESSAGE),
        (b"\0", codes.CUT_SHORT),
        (b"\0\0\0\0", codes.CUT_SHORT),
        (b"\0\0\0\0\0", codes.PLAIN),
        (b"\1\0\0\0\2ab", codes.COMPRESSED),
        (b"\2\0\0\0\2ab", codes.BAD_FLAG),
        (b"\2", codes.BAD_FLAG),
        (b"\0\0\0\0\2a", codes.CUT_SHORT),
        (b"\0\0\0\0\2abc", codes.TAIL),
        (b"\0\0\0\0\0" * 2, codes.TAIL),
        (b"\0\0\0\0\x09", codes.TOO_LONG),
        (b"\0\xff\xff\xff\xff", codes.TOO_LONG),
    ],
)
def test_a_unary_body_is_exactly_one_message_or_says_what_else(body: bytes, state: int) -> None:
    assert whole(unary_state, body, 8) == state


def test_the_bound_counts_the_message_alone_and_allows_itself() -> None:
    assert whole(frame_length, b"\0\0\0\0\x08", 8) == 8
    assert whole(frame_length, b"\0\0\0\0\x09", 8) == codes.TOO_LONG
    assert whole(frame_length, b"\0\0\0\0", 8) == codes.NEED_MORE
    assert whole(frame_flag, b"") == codes.NEED_MORE


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [
        (b"1n", 1),
        (b"20u", 20_000),
        (b"300m", 300_000_000),
        (b"1S", 10**9),
        (b"1M", 60 * 10**9),
        (b"1H", 3600 * 10**9),
        (b"0S", 0),
        (b"00000001S", 10**9),
        (b"99999999S", 99_999_999 * 10**9),
        (b"99999999H", TIMEOUT_NS_MAX),
        *(
            (value, codes.BAD_TIMEOUT)
            for value in (b"", b"S", b"1", b"123456789S", b"1s", b"-1S", b" 1S", b"1.5S", b"1S ")
        ),
    ],
)
def test_a_timeout_is_one_to_eight_digits_and_a_unit(value: bytes, nanoseconds: int) -> None:
    assert whole(timeout_ns, value) == nanoseconds


@pytest.mark.parametrize(
    ("value", "ok"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=utf-8", True),
        (b"application/grpc-web", False),
        (b"application/grp", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_a_content_type_is_grpc_with_or_without_a_format(value: bytes, ok: bool) -> None:
    assert whole(content_type_ok, value) == ok
