"""Arrays survive the way to the wire and back; what cannot be sent is refused before the call, by its name."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roost.errors import BadReply, InvalidInput
from roost.tensors import DATATYPES, array_of, tensor_of
from roost.v1 import predict_pb2

NUMERIC = sorted(set(DATATYPES) - {"bfloat16"})


@st.composite
def arrays_of_any_layout(draw: st.DrawFn) -> np.ndarray:
    """An array of any sendable dtype and byte order: whole, transposed, reversed, or every other element of one."""
    dtype = np.dtype(draw(st.sampled_from(NUMERIC))).newbyteorder(draw(st.sampled_from("<>")))
    array = draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
    cut = draw(st.sampled_from(["whole", "transposed", "reversed", "strided"]))
    if cut == "transposed":
        return array.T
    if array.ndim and cut == "reversed":
        return array[::-1]
    if array.ndim and cut == "strided":
        return array[..., ::2]
    return array


@settings(max_examples=300, deadline=None)
@given(arrays_of_any_layout())
def test_an_array_comes_back_equal_whatever_its_strides_and_byte_order(array: np.ndarray):
    tensor = tensor_of("x", array)
    back = array_of(tensor)
    assert tensor.datatype == DATATYPES[array.dtype.name]
    assert tensor.raw == np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    assert back.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, array)
    assert back.shape == array.shape
    assert back.flags.writeable


@pytest.mark.parametrize(
    ("values", "elements", "shape"),
    [
        (np.array([b"a", b"bc"]), [b"a", b"bc"], [2]),
        (np.array([["ä", "日本"]]), ["ä".encode(), "日本".encode()], [1, 2]),
        (np.array([b"nul\0", "text"], dtype=object), [b"nul\0", b"text"], [2]),
        (np.array(["a", "", "b"], dtype=object)[::2], [b"a", b"b"], [2]),
        ("word", [b"word"], []),
        ([b"x"], [b"x"], [1]),
        (np.empty((0, 2), dtype=object), [], [0, 2]),
    ],
    ids=["S", "U", "object", "strided", "scalar", "list", "empty"],
)
def test_bytes_and_text_travel_as_bytes(values: object, elements: list[bytes], shape: list[int]):
    tensor = tensor_of("words", values)
    assert (tensor.datatype, list(tensor.bytes_values), list(tensor.shape)) == ("BYTES", elements, shape)
    assert tensor.raw == b""
    back = array_of(tensor)
    assert back.dtype == object
    assert back.ravel().tolist() == elements
    assert list(back.shape) == shape


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy below 2.0 has no variable-width strings")
def test_variable_width_strings_travel_as_bytes():
    tensor = tensor_of("words", np.array(["a", "日本"], dtype=np.dtypes.StringDType()))
    assert list(tensor.bytes_values) == [b"a", "日本".encode()]


@pytest.mark.parametrize(("value", "datatype"), [(np.float32(3), "FP32"), (3, "INT64"), (True, "BOOL"), (3.0, "FP64")])
def test_a_scalar_has_the_empty_shape(value: object, datatype: str):
    tensor = tensor_of("x", value)
    assert (tensor.datatype, list(tensor.shape)) == (datatype, [])
    assert array_of(tensor) == value
    assert array_of(tensor).shape == ()


def test_bfloat16_travels_as_its_bits():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.array([1.0, -2.5], ml_dtypes.bfloat16)
    tensor = tensor_of("x", values)
    assert (tensor.datatype, len(tensor.raw)) == ("BF16", 4)
    assert array_of(tensor).dtype == np.uint16
    np.testing.assert_array_equal(array_of(tensor).view(ml_dtypes.bfloat16), values)


UNSENDABLE = {
    "complex64": np.zeros(1, np.complex64),
    "datetime64[D]": np.zeros(1, "datetime64[D]"),
    "timedelta64[s]": np.zeros(1, "timedelta64[s]"),
    "[('a', '<i4')]": np.zeros(1, [("a", "<i4")]),
    "|V3": np.zeros(1, "V3"),
}
if np.dtype(np.longdouble).itemsize > 8:
    UNSENDABLE[np.dtype(np.longdouble).name] = np.zeros(1, np.longdouble)


@pytest.mark.parametrize("dtype", UNSENDABLE)
def test_a_dtype_without_datatype_is_refused_by_the_name_of_its_input(dtype: str):
    with pytest.raises(InvalidInput) as refused:
        tensor_of("when", UNSENDABLE[dtype])
    assert str(refused.value).startswith("inputs['when']: expected dtype bool, uint8, ")
    assert f"got {dtype}. Convert it" in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ma.masked_array([1.0, 2.0], [False, True]), "got a masked array. Fill it first"),
        (np.array([b"a", 3], dtype=object), "expected bytes or str in an object array, got int at 1"),
        (np.array([None], dtype=object), "got NoneType at 0"),
        ([[1.0], [1.0, 2.0]], "got values that make none"),
        ({"a": 1}, "got dict at 0"),
    ],
    ids=["masked", "mixed", "none", "ragged", "dict"],
)
def test_values_that_are_no_tensor_are_refused_by_the_name_of_their_input(values: object, message: str):
    with pytest.raises(InvalidInput, match=r"^inputs\['x'\]: ") as refused:
        tensor_of("x", values)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (predict_pb2.Tensor(datatype="FP32", shape=[2], raw=b"1234"), "expected 8 bytes of raw for its shape, got 4"),
        (predict_pb2.Tensor(datatype="FP32", shape=[-1], raw=b""), "expected sizes of 0 or more, got [-1]"),
        (predict_pb2.Tensor(datatype="FP31", shape=[0]), "unknown datatype 'FP31'"),
        (predict_pb2.Tensor(datatype="BYTES", shape=[2], bytes_values=[b"a"]), "expected 2 bytes_values"),
        (predict_pb2.Tensor(datatype="FP32", shape=[3], float_values=[1, 2]), "expected 3 float_values"),
        (predict_pb2.Tensor(datatype="FP32", shape=[2**40, 2**40], raw=b""), "expected"),
    ],
    ids=["raw", "negative", "unknown", "bytes", "floats", "huge"],
)
def test_a_reply_whose_contents_do_not_fit_is_refused(tensor: predict_pb2.Tensor, message: str):
    tensor.name = "y"
    with pytest.raises(BadReply) as refused:
        array_of(tensor)
    assert message in str(refused.value)
    assert str(refused.value).startswith("outputs['y']")


def test_float_values_are_read_as_well_as_raw():
    tensor = predict_pb2.Tensor(name="y", datatype="FP32", shape=[1, 2], float_values=[1.5, 2.5])
    np.testing.assert_array_equal(array_of(tensor), np.array([[1.5, 2.5]], np.float32))


def test_this_machine_is_little_endian_or_replies_are_swapped_for_it():
    tensor = predict_pb2.Tensor(name="y", datatype="INT32", shape=[1], raw=b"\1\0\0\0")
    assert array_of(tensor).tolist() == [1], sys.byteorder
