"""The pool that load profiles check replies against: it makes what a model takes, and finds every wrong reply."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from benchmarks.models import echo_model, mlp_model
from loadtests.claimed_versions import claimed_pool
from loadtests.verified_pool import ELEMENT_TYPES, Case, WrongAnswer, verified_pool
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


def tree(threshold: float) -> bytes:
    """1 where the first of two columns is at most that, else 2."""
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0], nodes_values=[threshold, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[1.0, 2.0],
    )  # fmt: skip
    x, y = (helper.make_tensor_value_info(*each) for each in (("x", 1, ["rows", 2]), ("y", 1, ["rows", 1])))
    graph = helper.make_graph([node], "tree", [x], [y])
    sets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 1)]
    return bytes(helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString())


def rows_of(cases: list[Case]) -> np.ndarray:
    dtype = ELEMENT_TYPES["tensor(float)"][1]
    return np.concatenate([np.frombuffer(case.predict.inputs[0].raw, dtype).reshape(-1, 2) for case in cases])


def test_trees_are_sent_counts_and_other_models_fractions_of_both_signs():
    counts = rows_of(verified_pool("tree", tree(10), cases=200, rows_max=1, seed=1))
    assert (counts == np.floor(counts)).all()
    assert counts.min() == 0
    assert len(np.unique(counts)) > 30
    for floats in (
        rows_of(verified_pool("tree", tree(10), cases=200, rows_max=1, seed=1, scale=3)),
        rows_of(verified_pool("echo", echo_model({"x": (TensorProto.FLOAT, ["rows", 2])}), cases=200, rows_max=1,
                              seed=1)),
    ):  # fmt: skip
        assert floats.min() < 0 < floats.max()
        assert (floats != np.floor(floats)).all()


def test_versions_get_the_same_rows_even_where_only_one_is_of_trees():
    others = {"1": tree(10), "2": echo_model({"x": (TensorProto.FLOAT, ["rows", 2])})}
    claimed = claimed_pool("either", others, cases=20, rows_max=2, seed=1)
    first, second = (rows_of([case.answers[version] for case in claimed]) for version in others)
    assert (first == second).all()
    assert (first == np.floor(first)).all()


def test_a_model_of_strings_is_refused_by_the_name_of_its_input():
    words = echo_model({"words": (TensorProto.STRING, ["rows", 1])})
    with pytest.raises(ValueError, match="input 'words': expected a numeric type"):
        verified_pool("echo", words, cases=1, rows_max=1, seed=1)
