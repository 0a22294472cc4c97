"""Golden examples: exact to the bit through JSON, and a comparison that names what is off."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from registry_client import canonical_json
from registry_client.errors import BadDocument, GoldenMismatch
from registry_client.golden import GOLDEN_BYTES_MAX, Golden, Tensor, check_golden, make_golden, read_golden
from registry_client.golden import Example as GoldenExample
from registry_client.tensors import Datatype, Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", Datatype.FP32, (-1, 2)),), (TensorSpec("y", Datatype.FP32, (-1, 2)),))
ROWS = np.array([[1.0, 2.0], [np.nan, np.inf]], np.float32)


def golden_of(datatype: Datatype, array: np.ndarray) -> Golden:
    return Golden((GoldenExample({"x": Tensor(datatype, array)}, {"y": Tensor(datatype, array)}),))


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    datatype = draw(st.sampled_from(list(Datatype)))
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    if datatype is Datatype.BYTES:
        array = np.empty(shape, object)
        for index in np.ndindex(*shape):
            array[index] = draw(st.binary(max_size=8))
        return Tensor(datatype, array)
    return Tensor(datatype, draw(arrays.arrays(datatype.numpy_dtype, shape)))


@settings(max_examples=300, deadline=None)
@given(tensors())
def test_every_datatype_survives_json_to_the_bit(tensor):
    back = read_golden(golden_of(tensor.datatype, tensor.array).to_bytes()).examples[0].inputs["x"]
    assert back.datatype is tensor.datatype
    assert (back.array.dtype, back.array.shape) == (tensor.array.dtype, tensor.array.shape)
    if tensor.datatype is Datatype.BYTES:
        assert back.array.tolist() == tensor.array.tolist()
    else:
        np.testing.assert_array_equal(back.array, tensor.array)  # a NaN equals a NaN here
        numbers = tensor.array == tensor.array
        np.testing.assert_array_equal(
            np.signbit(np.float64(back.array[numbers])), np.signbit(np.float64(tensor.array[numbers]))
        )


def test_a_model_that_answers_as_recorded_passes_also_with_nan_and_infinity():
    golden = make_golden(SIGNATURE, [({"x": ROWS}, {"y": ROWS})])
    check_golden(golden, lambda inputs: {"y": inputs["x"]}, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            {"y": ROWS + np.float32(0.5)},
            r"golden example 1, output 'y', index \[0, 0\]: expected 1.0 .*got 1.5, 2 of 4",
        ),
        ({"y": np.nan_to_num(ROWS)}, r"index \[1, 0\]: expected nan"),
        ({"y": ROWS * np.float32(-1)}, r"index \[0, 0\]"),
        ({"y": ROWS.astype(np.float64)}, "expected float32 of shape .*got float64"),
        ({"y": ROWS[:1]}, r"got float32 of shape \[1, 2\]"),
        ({"z": ROWS}, r"got only \['z'\]"),
    ],
)
def test_a_mismatch_names_example_output_index_and_both_values(answer, expected):
    golden = make_golden(SIGNATURE, [({"x": ROWS[:0]}, {"y": ROWS[:0]}), ({"x": ROWS}, {"y": ROWS})])
    with pytest.raises(GoldenMismatch, match=expected):
        check_golden(golden, lambda inputs: answer if len(inputs["x"]) else {"y": inputs["x"]}, rtol=1e-5, atol=1e-6)


def test_the_tolerance_is_absolute_plus_relative_to_what_was_recorded():
    recorded = np.array([[100.0, 0.0]], np.float32)
    golden = make_golden(SIGNATURE, [({"x": recorded}, {"y": recorded})])
    check_golden(golden, lambda _: {"y": recorded + np.float32(0.9)}, rtol=0.0, atol=1.0)
    check_golden(golden, lambda _: {"y": recorded * np.float32(1.009)}, rtol=0.01, atol=0.0)
    for off in (recorded + np.float32(1.1), recorded * np.float32(1.03)):
        with pytest.raises(GoldenMismatch):
            check_golden(golden, lambda _, off=off: {"y": off}, rtol=0.01, atol=0.05)


@pytest.mark.parametrize(
    "datatype", [d for d in Datatype if d not in (Datatype.FP16, Datatype.FP32, Datatype.FP64, Datatype.BF16)]
)
def test_what_is_no_float_must_be_equal_whatever_the_tolerance(datatype):
    array = np.array([b"a", b"b"], object) if datatype is Datatype.BYTES else np.array([0, 1], datatype.numpy_dtype)
    check_golden(golden_of(datatype, array), lambda inputs: {"y": inputs["x"]}, rtol=1.0, atol=1.0)
    with pytest.raises(GoldenMismatch, match=r"index \[0\]"):
        check_golden(golden_of(datatype, array), lambda inputs: {"y": inputs["x"][::-1]}, rtol=1.0, atol=1.0)


def test_bf16_is_compared_as_the_number_and_not_as_its_bits():
    bits = (np.array([1.0, -2.0], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    golden = golden_of(Datatype.BF16, bits)
    next_up = bits + np.uint16(1)
    check_golden(golden, lambda _: {"y": next_up}, rtol=0.01, atol=0.0)
    with pytest.raises(GoldenMismatch, match=r"expected 1.0 .*got 1.0078125"):
        check_golden(golden, lambda _: {"y": next_up}, rtol=0.001, atol=0.0)


def test_a_scalar_that_is_off_is_named_without_an_index():
    golden = golden_of(Datatype.FP64, np.array(1.0))
    with pytest.raises(GoldenMismatch, match=r"index \[\]: expected 1.0 .*got 2.0"):
        check_golden(golden, lambda _: {"y": np.array(2.0)}, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        ({"x": ROWS}, {}, r"examples\[0\].outputs: expected \['y'\], got \[\]"),
        ({"z": ROWS}, {"y": ROWS}, "inputs.z: expected one of x"),
        ({"x": ROWS.astype(np.float64)}, {"y": ROWS}, "expected FP32 .*got float64"),
        ({"x": ROWS[:, :1]}, {"y": ROWS}, r"expected FP32 \[-1, 2\], got FP32 \[2, 1\]"),
        ({"x": ROWS[0]}, {"y": ROWS}, r"got FP32 \[2\]"),
    ],
)
def test_an_example_that_does_not_fit_the_signature_is_refused(inputs, outputs, expected):
    with pytest.raises(BadDocument, match=expected):
        make_golden(SIGNATURE, [(inputs, outputs)])


def test_a_bundle_without_examples_is_refused():
    with pytest.raises(BadDocument, match="at least one example"):
        make_golden(SIGNATURE, [])


@pytest.mark.parametrize(
    ("datatype", "element", "expected"),
    [
        ("INT8", 128, "an integer of -128 to 127, got 128"),
        ("UINT64", -1, "an integer of 0 to"),
        ("INT32", True, "an integer"),
        ("INT32", 1.0, "an integer"),
        ("BOOL", 1, "true or false"),
        ("FP32", 1e39, "a number within FP32"),
        ("FP16", "inf", "a number within FP16"),
        ("FP32", None, "a number within FP32"),
        ("BYTES", "not base64!", "base64"),
        ("BYTES", 7, "base64"),
        ("BYTES", "ä", "base64"),
    ],
)
def test_an_element_outside_its_type_is_refused_by_its_place(datatype, element, expected):
    document = json.loads(golden_of(Datatype.FP32, ROWS).to_bytes())
    document["examples"][0]["inputs"]["x"] = {"datatype": datatype, "shape": [1], "contents": [element]}
    with pytest.raises(BadDocument, match=rf"examples\[0\].inputs.x.contents\[0\]: expected {expected}"):
        read_golden(canonical_json.encode(document))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shape": [3]}, "expected 3 elements"),
        ({"shape": [-1]}, "sizes of at most 32"),
        ({"shape": [2**40, 2**40]}, "elements for shape"),
        ({"shape": [1] * 33}, "sizes of at most 32"),
        ({"shape": [1.0]}, "sizes of at most 32"),
        ({"datatype": "FLOAT"}, "datatype: expected one of BOOL"),
        ({"extra": 1}, "x.extra: expected no such key"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused(change, expected):
    document = json.loads(golden_of(Datatype.INT8, np.zeros(2, np.int8)).to_bytes())
    document["examples"][0]["inputs"]["x"].update(change)
    with pytest.raises(BadDocument, match=expected):
        read_golden(canonical_json.encode(document))


def test_a_golden_file_over_its_limit_is_refused():
    with pytest.raises(BadDocument, match=f"at most {GOLDEN_BYTES_MAX} bytes"):
        read_golden(b" " * (GOLDEN_BYTES_MAX + 1))
