"""Tensors between bytes and arrays: what goes in comes out, and nothing is made before it was counted."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_client.tensors import Datatype, TensorSpec
from server.worker.servicers.tensors import checked_shape, from_raw, to_raw
from server.worker.status import BadInput

FIXED_WIDTH = [datatype for datatype in Datatype if datatype.width_bytes]


@given(st.sampled_from(FIXED_WIDTH), st.lists(st.integers(0, 5), max_size=4), st.randoms(use_true_random=False))
def test_raw_bytes_survive_the_way_to_an_array_and_back(datatype: Datatype, shape: list[int], random) -> None:
    size = math.prod(shape) * datatype.width_bytes
    raw = bytes(random.randrange(2) if datatype is Datatype.BOOL else random.randrange(256) for _ in range(size))
    array = from_raw("x", datatype, tuple(shape), raw)
    assert array.shape == tuple(shape)
    assert array.dtype == datatype.numpy_dtype
    assert to_raw(datatype, array) == raw


@given(st.lists(st.text(max_size=5), max_size=6))
def test_text_survives_the_way_to_an_array_and_back(words: list[str]) -> None:
    raw = b"".join(len(word.encode()).to_bytes(4, "little") + word.encode() for word in words)
    array = from_raw("x", Datatype.BYTES, (len(words),), raw)
    assert [element.decode() for element in array] == words
    assert to_raw(Datatype.BYTES, array) == raw


@given(st.binary(max_size=40), st.integers(0, 4))
def test_random_bytes_are_text_or_are_refused(raw: bytes, count: int) -> None:
    try:
        array = from_raw("x", Datatype.BYTES, (count,), raw)
    except BadInput as error:
        refused = error.message
    else:
        refused = None
        assert to_raw(Datatype.BYTES, array) == raw
    assert refused is None or refused.startswith("x")


@pytest.mark.parametrize("shape", [(2**31 - 1, 1), (2**31 - 1, 2**31 - 1, 2**31 - 1)])
def test_a_shape_beyond_the_bytes_costs_no_memory(shape: tuple[int, ...]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match=r"expected [0-9]+ bytes"):
            from_raw("x", Datatype.FP32, shape, b"\0\0\0\0")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_a_shape_is_taken_only_if_numpy_could_make_it(shape: list[int]) -> None:
    spec = TensorSpec("x", Datatype.FP32, (-1,) * len(shape))
    try:
        checked = checked_shape("x", spec, "FP32", shape)
    except BadInput:
        assert any(not 0 <= size < 2**31 for size in shape) or 0 in shape
    else:
        assert all(0 <= size < 2**31 for size in checked)
        if 0 in checked:
            assert np.empty(checked, np.float32).size == 0


def test_a_big_endian_array_is_written_little_endian() -> None:
    assert to_raw(Datatype.INT32, np.array([1], dtype=">i4")) == b"\1\0\0\0"
