"""Every datatype comes back as it went in: raw and typed, by both methods."""

from __future__ import annotations

import numpy as np
import pytest

from tests.behaviour.conftest import Served
from tests.behaviour.messages import (
    CONTENTS_OF,
    infer_outputs,
    infer_request,
    predict_outputs,
    predict_request,
)
from tests.behaviour.served_models import DATATYPES, echo_name


def rows_of(datatype: str) -> np.ndarray:
    return DATATYPES[datatype][1].reshape(2, 2)


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_predict_gives_every_datatype_back_as_it_came(served: Served, datatype: str) -> None:
    sent = rows_of(datatype)
    reply = served.predict(predict_request(echo_name(datatype), {"x": sent}, datatypes={"x": datatype}), timeout=20)
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in reply.outputs] == [("y", datatype, [2, 2])]
    assert_same(predict_outputs(reply)["y"], sent)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_raw_contents_are_answered_with_raw_contents(served: Served, datatype: str) -> None:
    sent = rows_of(datatype)
    request = infer_request(echo_name(datatype), {"x": sent}, datatypes={"x": datatype})
    reply = served.inference.ModelInfer(request, timeout=20)
    assert len(reply.raw_output_contents) == 1
    assert not reply.outputs[0].HasField("contents")
    assert (reply.outputs[0].datatype, list(reply.outputs[0].shape)) == (datatype, [2, 2])
    assert_same(infer_outputs(reply)["y"], sent)


@pytest.mark.parametrize("datatype", CONTENTS_OF)
def test_typed_contents_are_answered_with_typed_contents(served: Served, datatype: str) -> None:
    sent = rows_of(datatype)
    request = infer_request(echo_name(datatype), {"x": sent}, raw=False)
    reply = served.inference.ModelInfer(request, timeout=20)
    assert not reply.raw_output_contents
    assert_same(infer_outputs(reply)["y"], sent)


def test_predict_takes_floats_in_a_typed_field(served: Served) -> None:
    request = predict_request(echo_name("FP32"), {"x": np.array([[1.5, -2.0]], np.float32)})
    request.inputs[0].ClearField("raw")
    request.inputs[0].float_values.extend([1.5, -2.0])
    reply = served.predict(request, timeout=20)
    assert_same(predict_outputs(reply)["y"], np.array([[1.5, -2.0]], np.float32))


@pytest.mark.parametrize("method", ["predict", "infer"])
def test_a_raw_bool_is_true_for_any_byte_but_zero(served: Served, method: str) -> None:
    sent = np.array([[0, 1], [2, 255]], np.uint8)
    if method == "predict":
        reply = served.predict(predict_request("echo_bool", {"x": sent}, datatypes={"x": "BOOL"}), timeout=20)
        got = reply.outputs[0].raw
    else:
        got = served.inference.ModelInfer(
            infer_request("echo_bool", {"x": sent}, datatypes={"x": "BOOL"}), timeout=20
        ).raw_output_contents[0]
    assert got == b"\0\1\1\1"


@pytest.mark.parametrize("datatype", DATATYPES)
def test_no_rows_are_answered_with_no_rows(served: Served, datatype: str) -> None:
    sent = rows_of(datatype)[:0]
    reply = served.predict(predict_request(echo_name(datatype), {"x": sent}, datatypes={"x": datatype}), timeout=20)
    assert list(reply.outputs[0].shape) == [0, 2]
    assert not reply.outputs[0].raw
    reply = served.inference.ModelInfer(
        infer_request(echo_name(datatype), {"x": sent}, datatypes={"x": datatype}), timeout=20
    )
    assert list(reply.outputs[0].shape) == [0, 2]
