"""Leaving weights out of what is parsed: nothing else changes, and what is doubtful is left to the parser."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from registry_client.errors import UnservableModel
from registry_client.graph_walk import walk_tensors
from registry_client.onnx_model import read_onnx
from registry_client.weights import KEPT_BYTES_MAX, without_weights

LARGE = np.ones((64, 64), np.float32)
LAST_KEPT = np.ones(KEPT_BYTES_MAX, np.uint8)
FIRST_LEFT_OUT = np.ones(KEPT_BYTES_MAX + 1, np.uint8)


def with_weights_everywhere() -> onnx.ModelProto:
    """As an initialiser by raw bytes and by numbers, in a constant, in a subgraph."""
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["z"], value=numpy_helper.from_array(LARGE, "inner constant"))],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [64, 64])],
        [numpy_helper.from_array(LARGE, "inner weights")],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(LARGE, "constant")),
            helper.make_node("If", ["yes"], ["i"], then_branch=inner, else_branch=inner),
            helper.make_node("Reshape", ["x", "shape"], ["y"], name="n" * 5000),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", None, None])],
        [
            numpy_helper.from_array(LARGE, "raw"),
            helper.make_tensor("numbers", TensorProto.FLOAT, [64, 64], LARGE.ravel()),
            helper.make_tensor("doubles", TensorProto.DOUBLE, [64, 64], LARGE.ravel()),
            numpy_helper.from_array(np.array([0, 2, 2]), "shape"),
            numpy_helper.from_array(np.array(True), "yes"),
            numpy_helper.from_array(LAST_KEPT, "last kept"),
            numpy_helper.from_array(FIRST_LEFT_OUT, "first left out"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def emptied(model: onnx.ModelProto) -> onnx.ModelProto:
    """The oracle: parsed whole, then emptied."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for tensor in walk_tensors(copied):
        for name, width in (("raw_data", 1), ("float_data", 4), ("double_data", 8)):
            if len(getattr(tensor, name)) * width > KEPT_BYTES_MAX:
                tensor.ClearField(name)
    return copied


def test_large_tensors_are_emptied_wherever_they_are_and_nothing_else_changes() -> None:
    model = with_weights_everywhere()
    small = without_weights(model.SerializeToString())
    assert onnx.ModelProto.FromString(small) == emptied(model)
    assert len(small) < 8 * KEPT_BYTES_MAX < len(model.SerializeToString())
    kept = {tensor.name for tensor in walk_tensors(onnx.ModelProto.FromString(small)) if tensor.raw_data}
    assert kept == {"shape", "yes", "last kept"}


def test_a_signature_reads_the_same_with_weights_and_without() -> None:
    """Its output's shape is told by a small tensor's values, and a node's long name is no weight."""
    data = with_weights_everywhere().SerializeToString()
    model = read_onnx(data)
    assert model.model_bytes is data
    assert model.signature.outputs[0].shape == (-1, 2, 2)
    assert model.signature == read_onnx(without_weights(data)).signature


def test_a_model_that_is_corrected_keeps_its_weights(sklearn_export) -> None:
    model = onnx.ModelProto.FromString(sklearn_export(True))
    model.graph.initializer.append(numpy_helper.from_array(LARGE, "unused"))
    corrected = onnx.ModelProto.FromString(read_onnx(model.SerializeToString()).model_bytes)
    np.testing.assert_array_equal(numpy_helper.to_array(corrected.graph.initializer[-1]), LARGE)


def test_external_data_is_refused_although_the_tensor_holds_weights_as_well() -> None:
    model = with_weights_everywhere()
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(UnservableModel, match="external data"):
        read_onnx(model.SerializeToString())


@pytest.mark.parametrize("cut", [1, 3, 100, 5000, 20_000])
def test_a_file_that_is_cut_off_comes_back_as_it_is(cut: int) -> None:
    data = with_weights_everywhere().graph.initializer[0].SerializeToString()
    whole = b"\x3a" + _varint(len(data) + 4) + b"\x2a" + _varint(len(data)) + data
    assert len(without_weights(whole)) < 200
    broken = whole[:-cut] if cut < len(whole) else whole[:2]
    assert without_weights(broken) is broken


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def test_packed_numbers_of_an_odd_length_are_left_to_the_parser() -> None:
    tensor = b"\x22" + _varint(8191) + bytes(8191)
    graph = b"\x2a" + _varint(len(tensor)) + tensor
    data = b"\x3a" + _varint(len(graph)) + graph
    assert without_weights(data) is data
    with pytest.raises(UnservableModel, match="do not parse"):
        read_onnx(data)


def test_a_graph_in_a_graph_without_end_is_left_to_the_parser() -> None:
    data = bytes(2 * KEPT_BYTES_MAX)
    for _ in range(500):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # a graph, in an attribute, in a node
            data = tag + _varint(len(data)) + data
    data = b"\x3a" + _varint(len(data)) + data
    assert without_weights(data) is data
    with pytest.raises(UnservableModel, match="do not parse"):
        read_onnx(data)


@settings(max_examples=300, deadline=None, database=None)
@given(st.data())
def test_damaged_bytes_parse_alike_with_weights_and_without(data: st.DataObject) -> None:
    """Either both parse, to the same but for weights, or neither does."""
    content = bytearray(with_weights_everywhere().SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        # Near the tags of a field, where damage tells: most of the file is weights.
        near = data.draw(
            st.sampled_from([index for index in range(len(content)) if content[index] not in (0, 0x3F)][:400])
        )
        content[near] = data.draw(st.integers(0, 255))
    damaged = bytes(content)
    small = without_weights(damaged)
    try:
        whole = onnx.ModelProto.FromString(damaged)
    except DecodeError:
        with pytest.raises(DecodeError):
            onnx.ModelProto.FromString(small)
        return
    assert emptied(onnx.ModelProto.FromString(small)) == emptied(whole)
