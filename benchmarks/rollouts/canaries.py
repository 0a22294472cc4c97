"""Canaries that go bad on some inputs: trouble where x[0] is a whole number from THRESHOLD on, else right answers.

What is tried before a rollout (golden examples, probes, warm-up) is drawn from the real numbers, so that only traffic
brings it out.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.swaps.versions import graph_bytes, node, value

THRESHOLD = 900.0
STEPS_ENDLESS = 2**40
SWELLING_MIB = 1500


_PLACES: dict[str, np.ndarray] = {
    "nought_th": np.array([0], np.int64),
    "first_th": np.array([1], np.int64),
    "threshold": np.array([THRESHOLD], np.float32),
}


def _constants(factor: int, **more: np.ndarray) -> dict[str, np.ndarray]:
    return {**_PLACES, "factor": np.array([factor], np.float32), **more}


def _sliced() -> list[onnx.NodeProto]:
    return [
        node("Slice", ["x", "nought_th", "first_th", "first_th"], ["first"]),
        node("Floor", ["first"], ["floor"]),
        node("Equal", ["first", "floor"], ["whole"]),
        node("GreaterOrEqual", ["first", "threshold"], ["large"]),
        node("And", ["whole", "large"], ["bad"]),
        node("Mul", ["x", "factor"], ["good"]),
    ]


def not_a_number(factor: int) -> bytes:
    """NaN where the input is over the threshold."""
    nodes = [*_sliced(), node("Where", ["bad", "nan", "good"], ["y"])]
    return graph_bytes(nodes, _constants(factor, nan=np.array([np.nan], np.float32)))


def failing(factor: int) -> bytes:
    """An index out of range, so that the run fails, where any input is over the threshold."""
    nodes = [
        *_sliced(),
        node("Cast", ["bad"], ["number"], to=TensorProto.INT64),
        node("ReduceSum", ["number"], ["index"], keepdims=0),
        node("Gather", ["table", "index"], ["nothing"], axis=0),
        node("Add", ["good", "nothing"], ["y"]),
    ]
    return graph_bytes(nodes, _constants(factor, table=np.zeros((1,), np.float32)))


def looping(factor: int, steps: int) -> bytes:
    """So many products of 64 x 64 matrices where any input is over the threshold."""
    body = helper.make_graph(
        [node("MatMul", ["carried", "identity"], ["carries_on"]), node("Identity", ["going_on"], ["goes_on"])],
        "body",
        [
            value("step", TensorProto.INT64, []),
            value("going_on", TensorProto.BOOL, []),
            value("carried", TensorProto.FLOAT, [64, 64]),
        ],
        [value("goes_on", TensorProto.BOOL, []), value("carries_on", TensorProto.FLOAT, [64, 64])],
    )
    nodes = [
        *_sliced(),
        node("Cast", ["bad"], ["number"], to=TensorProto.INT64),
        node("ReduceMax", ["number"], ["any"], keepdims=0),
        node("Mul", ["any", "steps"], ["turns"]),
        node("Loop", ["turns", "", "identity"], ["last"], body=body),
        node("ReduceSum", ["last"], ["total"], keepdims=0),
        node("Mul", ["total", "nought"], ["nothing"]),
        node("Add", ["good", "nothing"], ["y"]),
    ]
    more = {
        "steps": np.array(steps, np.int64),
        "identity": np.eye(64, dtype=np.float32),
        "nought": np.zeros((), np.float32),
    }
    return graph_bytes(nodes, _constants(factor, **more))


def swelling(factor: int, mebibytes: int) -> bytes:
    """Fills so much memory where any input is over the threshold, in one run."""
    nodes = [
        *_sliced(),
        node("Cast", ["bad"], ["number"], to=TensorProto.INT64),
        node("ReduceMax", ["number"], ["any"], keepdims=0),
        node("Mul", ["any", "elements"], ["wide"]),
        node("Reshape", ["wide", "one"], ["shape"]),
        node("ConstantOfShape", ["shape"], ["memory"]),
        node("ReduceSum", ["memory"], ["nothing"], keepdims=0),
        node("Add", ["good", "nothing"], ["y"]),
    ]
    more = {"elements": np.array(mebibytes << 18, np.int64), "one": np.array([1], np.int64)}
    return graph_bytes(nodes, _constants(factor, **more))
