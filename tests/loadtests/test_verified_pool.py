"""The pool that load profiles check replies against: it makes what a model takes, and finds every wrong reply."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from benchmarks.models import echo_model, mlp_model
from loadtests.verified_pool import Case, WrongAnswer, verified_pool
from protos.inference import grpc_service_pb2 as oip
from protos.roost.v1 import predict_pb2 as v1

MLP = mlp_model()


@pytest.fixture
def case() -> Case:
    return verified_pool("mlp", MLP, cases=1, rows_max=4, seed=1)[0]


def _predict_reply(case: Case) -> v1.PredictReply:
    scores = case.expected["scores"]
    tensor = v1.Tensor(name="scores", datatype="FP32", shape=scores.shape, raw=scores.tobytes())
    return v1.PredictReply(model="mlp", outputs=[tensor])


def _infer_reply(case: Case) -> oip.ModelInferResponse:
    scores = case.expected["scores"]
    reply = oip.ModelInferResponse(model_name="mlp", raw_output_contents=[scores.tobytes()])
    reply.outputs.add(name="scores", datatype="FP32", shape=scores.shape)
    return reply


def test_the_right_replies_pass(case: Case):
    case.check_predict(_predict_reply(case))
    case.check_infer(_infer_reply(case))


def _set(field: str, value: object):
    def change(tensor: object) -> None:
        setattr(tensor, field, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("name", "score"), "expected outputs"),
        (_set("datatype", "FP64"), "elements for the shape"),
        (_set("datatype", "INT32"), r"expected float32.*, got int32"),
        (_set("datatype", "FP31"), "datatype 'FP31'"),
        (lambda tensor: tensor.shape.append(1), r"got float32"),
        (lambda tensor: tensor.shape.append(2), "elements for the shape"),
    ],
    ids=["name", "width", "dtype", "unknown", "rank", "count"],
)
def test_a_reply_with_another_tensor_is_wrong(case: Case, change, message: str):
    predict, infer = _predict_reply(case), _infer_reply(case)
    change(predict.outputs[0])
    change(infer.outputs[0])
    with pytest.raises(WrongAnswer, match=message):
        case.check_predict(predict)
    with pytest.raises(WrongAnswer, match=message):
        case.check_infer(infer)


def test_a_value_off_by_more_than_the_tolerance_is_wrong(case: Case):
    predict, infer = _predict_reply(case), _infer_reply(case)
    off = (case.expected["scores"] * np.float32(1.0001)).tobytes()
    predict.outputs[0].raw = off
    infer.raw_output_contents[0] = off
    for check, reply in ((case.check_predict, predict), (case.check_infer, infer)):
        with pytest.raises(WrongAnswer, match="not what ONNX Runtime answers"):
            check(reply)


def test_a_reply_without_raw_contents_is_wrong(case: Case):
    reply = _infer_reply(case)
    reply.ClearField("raw_output_contents")
    with pytest.raises(WrongAnswer, match="1 outputs, but 0 raw contents"):
        case.check_infer(reply)


def test_a_pool_is_the_same_for_the_same_seed_and_another_for_another():
    first, again, other = (
        [case.predict.SerializeToString() for case in verified_pool("mlp", MLP, cases=8, rows_max=8, seed=seed)]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_rows_of_a_pool_lie_between_one_and_the_bound():
    rows = {case.expected["scores"].shape[0] for case in verified_pool("mlp", MLP, cases=200, rows_max=3, seed=1)}
    assert rows == {1, 2, 3}


def test_inputs_of_any_numeric_type_and_shape_are_made_up():
    kinds = {
        "flags": (TensorProto.BOOL, ["rows", 2]),
        "counts": (TensorProto.INT64, ["rows", "length"]),
        "bytes": (TensorProto.UINT8, ["rows"]),
        "halves": (TensorProto.FLOAT16, ["rows", 4]),
        "doubles": (TensorProto.DOUBLE, [2, 2]),
        "scale": (TensorProto.FLOAT, []),
    }
    case = verified_pool("echo", echo_model(kinds), cases=1, rows_max=1, seed=1)[0]
    shapes = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in case.predict.inputs}
    assert shapes == {
        "flags": ("BOOL", [1, 2]),
        "counts": ("INT64", [1, 3]),
        "bytes": ("UINT8", [1]),
        "halves": ("FP16", [1, 4]),
        "doubles": ("FP64", [2, 2]),
        "scale": ("FP32", []),
    }


def test_a_model_of_strings_is_refused_by_the_name_of_its_input():
    words = echo_model({"words": (TensorProto.STRING, ["rows", 1])})
    with pytest.raises(ValueError, match="input 'words': expected a numeric type"):
        verified_pool("echo", words, cases=1, rows_max=1, seed=1)
