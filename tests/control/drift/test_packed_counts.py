"""Packed counts come back as they were, or not at all."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from server.control.drift.packed_counts import packed, unpacked

ANY_SIZE = st.one_of(st.integers(0, 200), st.integers(0, 2**63 - 1))


def slow_bytes(counts: np.ndarray) -> bytes:
    """LEB128, number by number."""
    out = bytearray()
    for number in counts.ravel().tolist():
        while number >= 128:
            out.append(number % 128 + 128)
            number //= 128
        out.append(number)
    return bytes(out)


@given(arrays(np.int64, array_shapes(min_dims=2, max_dims=2, max_side=20), elements=ANY_SIZE))
def test_counts_come_back_as_they_were_and_lie_there_as_the_format_says(counts: np.ndarray) -> None:
    data = packed(counts)
    assert zlib.decompress(data) == slow_bytes(counts)
    found = unpacked(data, counts.shape[1], counts.shape[0])
    assert found.dtype == np.int64
    assert found.tolist() == counts.tolist()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        packed(np.ones((16, 5), dtype=np.int64))[:-3],
        packed(np.ones((17, 5), dtype=np.int64)),
        packed(np.ones((1, 7), dtype=np.int64)),
        zlib.compress(b""),
        zlib.compress(b"\x01\x01\x01\x01\x81"),  # the last one has no end
        zlib.compress(b"\x01\x01\x01\x01" + b"\x80" * 9 + b"\x01"),
        zlib.compress(b"\x01" * 10_000_000),  # no more is unpacked than could be counts
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="counts: expected"):
        unpacked(data, 5, 16)


def test_a_flipped_bit_is_found_or_means_nothing() -> None:
    counts = np.random.default_rng(1).integers(0, 1000, (16, 5))
    data = bytearray(packed(counts))
    found = 0
    for place in range(len(data)):
        for bit in range(8):
            data[place] ^= 1 << bit
            try:
                assert (unpacked(bytes(data), 5, 16) == counts).all()
            except ValueError:
                found += 1
            data[place] ^= 1 << bit
    assert found > 0.95 * 8 * len(data)


@pytest.mark.parametrize(("features", "bytes_max"), [(16, 5_000), (512, 150_000)])
def test_a_minute_of_a_thousand_rows_is_small_on_disk(features: int, bytes_max: int) -> None:
    random = np.random.default_rng(3)
    share = np.array([1.0] * 10 + [0.2, 0.1, 0.0])
    blocks = np.concatenate([random.multinomial(63, share / share.sum(), 16) for _ in range(features)], axis=1)
    size = 2 * len(packed(blocks)) + len(packed(blocks.sum(axis=0)[np.newaxis]))
    assert size < bytes_max < 2 * blocks.nbytes / 8
