"""The model directory: which models suit kernels, where their rows go, and what it refuses to be built from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from native.wire.codes import HAND_OVER
from native.wire.datatypes import BF16, BYTES, DATATYPES, FP16, FP32, INT8, INT64
from native.wire.directory import (
    COLUMN_ALIGNMENT_BYTES,
    HEADER_WORDS,
    MODEL_WORDS,
    ModelDirectory,
    WireModel,
    WireTensor,
)
from native.wire.tensors import find_model
from registry_client.tensors import Datatype

X = WireTensor("x", FP32, (-1, 3))
MODEL = WireModel(
    "m", "1", "0123456789ab", "stable", (X, WireTensor("n", INT8, (-1,))), (WireTensor("y", INT64, (-1,)),), 5
)


@pytest.mark.parametrize("datatype", Datatype)
def test_a_datatype_is_the_same_to_kernels_as_to_artifacts(datatype: Datatype) -> None:
    kind = DATATYPES[datatype.code]
    assert (kind.name, kind.width_bytes, kind.numpy_dtype) == (
        datatype.name,
        datatype.width_bytes,
        datatype.numpy_dtype,
    )
    assert len(DATATYPES) == len(Datatype)


def test_columns_are_aligned_and_disjoint_and_fill_the_block() -> None:
    directory = ModelDirectory([MODEL])
    block = np.zeros(directory.input_block_bytes(0), dtype=np.uint8)
    x, n = directory.input_columns(0, block)
    assert (x.shape, x.dtype, n.shape, n.dtype) == ((5, 3), np.float32, (5,), np.int8)
    offsets = [column.ctypes.data - block.ctypes.data for column in (x, n)]
    assert offsets == [0, COLUMN_ALIGNMENT_BYTES]
    assert directory.input_block_bytes(0) == 2 * COLUMN_ALIGNMENT_BYTES
    x[:] = 1
    assert not n.any()


UNSUITABLE = {
    "no free rows": replace(MODEL, inputs=(WireTensor("x", FP32, (1, 3)),)),
    "a free dimension beside the rows": replace(MODEL, inputs=(WireTensor("x", FP32, (-1, -1)),)),
    "a scalar": replace(MODEL, inputs=(WireTensor("x", FP32, ()),)),
    "an empty row": replace(MODEL, inputs=(WireTensor("x", FP32, (-1, 0)),)),
    "byte strings": replace(MODEL, inputs=(WireTensor("x", BYTES, (-1, 3)),)),
    "byte strings as output": replace(MODEL, outputs=(WireTensor("y", BYTES, (-1,)),)),
    "a fixed output": replace(MODEL, outputs=(WireTensor("y", FP32, (3,)),)),
    "a row beyond counting": replace(MODEL, inputs=(WireTensor("x", FP32, (-1, 2**16, 2**16)),)),
    "seventeen dimensions": replace(MODEL, inputs=(WireTensor("x", FP32, (-1, *[1] * 16)),)),
    "seventeen inputs": replace(MODEL, inputs=tuple(WireTensor(f"x{index}", FP32, (-1,)) for index in range(17))),
    "seventeen outputs": replace(MODEL, outputs=tuple(WireTensor(f"y{index}", FP32, (-1,)) for index in range(17))),
    "no inputs": replace(MODEL, inputs=()),
    "rows that depend on each other": replace(MODEL, batchable=False),
}


@pytest.mark.parametrize("model", UNSUITABLE.values(), ids=UNSUITABLE)
def test_a_model_that_no_kernel_may_serve_is_marked_and_has_no_arena(model: WireModel) -> None:
    directory = ModelDirectory([model, replace(MODEL, name="other")])
    assert not directory.kernel_ok(0)
    assert directory.input_block_bytes(0) == directory.output_block_bytes(0) == 0
    with pytest.raises(ValueError, match="m: has no arena"):
        directory.input_columns(0, np.zeros(0, dtype=np.uint8))
    assert directory.kernel_ok(1)


@pytest.mark.parametrize("datatype", [FP16, BF16])
def test_outputs_without_typed_contents_exclude_typed_replies_only(datatype: int) -> None:
    half = replace(MODEL, outputs=(WireTensor("y", datatype, (-1,)),))
    assert (half.kernel_ok, half.typed_ok) == (True, False)
    assert MODEL.typed_ok


def test_two_models_of_one_name_are_refused_unless_they_share_a_route() -> None:
    with pytest.raises(ValueError, match="expected one route for each name"):
        ModelDirectory([MODEL, MODEL])
    ModelDirectory([replace(MODEL, route=3), replace(MODEL, route=3, version="2")])


def test_a_vacant_place_is_found_by_no_name_and_keeps_the_others_where_they_are() -> None:
    directory = ModelDirectory([None, MODEL, None])
    message = np.frombuffer(MODEL.name.encode() + b"\0", dtype=np.uint8).copy()
    found = find_model(message, 0, len(MODEL.name), 0, 0, directory.table, directory.blob)
    assert found == HEADER_WORDS + MODEL_WORDS
    assert find_model(message, 0, 0, 0, 0, directory.table, directory.blob) == HAND_OVER
    assert directory.index_of(MODEL.name) == 1
    assert not directory.kernel_ok(0)
    assert directory.models == (MODEL,)


def test_a_bare_name_finds_the_first_model_and_a_version_the_one_that_has_it() -> None:
    first, second = replace(MODEL, route=0, version="1"), replace(MODEL, route=0, version="2")
    directory = ModelDirectory([first, second])
    name = MODEL.name.encode()
    message = np.frombuffer(name + b"123", dtype=np.uint8).copy()
    asked = {b"": 0, b"1": 0, b"2": 1}
    for version, index in asked.items():
        at = len(name) + max(int(version or b"1") - 1, 0)
        found = find_model(message, 0, len(name), at, len(version), directory.table, directory.blob)
        assert found == HEADER_WORDS + index * MODEL_WORDS
    assert find_model(message, 0, len(name), len(name) + 2, 1, directory.table, directory.blob) == HAND_OVER


@pytest.mark.parametrize("rows", [0, -1, 2**31])
def test_max_rows_out_of_range_is_refused_with_its_range(rows: int) -> None:
    with pytest.raises(ValueError, match=rf"m: max_rows: expected 1 to 2147483647, got {rows}"):
        ModelDirectory([replace(MODEL, max_rows=rows)])


def test_an_index_is_that_of_the_name() -> None:
    directory = ModelDirectory([MODEL, replace(MODEL, name="other")])
    assert (directory.index_of("m"), directory.index_of("other"), directory.index_of("nobody")) == (0, 1, None)


def test_a_directory_of_no_models_is_one() -> None:
    assert ModelDirectory([]).index_of("m") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": MODEL.inputs[::-1]},
        {"outputs": MODEL.outputs * 2},
        {"inputs": (X, WireTensor("n", INT8, (-1, 4)))},
    ],
)
def test_two_signatures_on_one_route_are_refused_where_kernels_serve_both(changes: dict[str, Any]) -> None:
    first, other = replace(MODEL, route=0), replace(MODEL, route=0, version="2", **changes)
    with pytest.raises(ValueError, match=r"2: inputs and outputs: expected those of version 1"):
        ModelDirectory([first, None, other])
    ModelDirectory([first, replace(other, batchable=False), replace(other, route=1, name="n")])
