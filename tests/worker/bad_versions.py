"""Versions that go bad where an input is a whole number from THRESHOLD on, and whose rows share no batch.

As `benchmarks.rollouts.canaries`, which batch: what is tried before traffic is drawn from the real numbers.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.swaps.versions import graph_bytes, node, value

THRESHOLD = 900.0
STEPS_ENDLESS = 2**40

# As a call alone: y = factor * x, and one more for each further row.
_ALONE: list[onnx.NodeProto] = [
    node("Shape", ["x"], ["rows"], end=1),
    node("Cast", ["rows"], ["count"], to=TensorProto.FLOAT),
    node("Sub", ["count", "one"], ["more"]),
    node("Mul", ["x", "factor"], ["scaled"]),
]
_LARGE: list[onnx.NodeProto] = [
    node("Add", ["scaled", "more"], ["good"]),
    node("GreaterOrEqual", ["x", "threshold"], ["over"]),
    node("Floor", ["x"], ["floor"]),
    node("Equal", ["x", "floor"], ["whole"]),
    node("And", ["over", "whole"], ["large"]),
]
_BAD: list[onnx.NodeProto] = [
    *_LARGE,
    node("Cast", ["large"], ["number"], to=TensorProto.INT64),
    node("ReduceMax", ["number"], ["bad"], keepdims=0),
]


def _graph(nodes: list[onnx.NodeProto], factor: int, **more: np.ndarray) -> bytes:
    constants = {"factor": np.array([factor], np.float32), "one": np.ones(1, np.float32), **more}
    return graph_bytes([*_ALONE, *nodes], constants)


def alone(factor: int) -> bytes:
    """Never bad."""
    return _graph([node("Add", ["scaled", "more"], ["y"])], factor)


def not_a_number_alone(factor: int) -> bytes:
    """NaN where it is bad."""
    more = {"threshold": np.array([THRESHOLD], np.float32), "nan": np.array([np.nan], np.float32)}
    return _graph([*_LARGE, node("Where", ["large", "nan", "good"], ["y"])], factor, **more)


def endless_alone(factor: int, *, only_whole: bool = True, steps: int = STEPS_ENDLESS) -> bytes:
    """2^40 steps where it is bad: hours, unless it is ended. Not `only_whole`: for any number from THRESHOLD on."""
    body = helper.make_graph(
        [node("Identity", ["going_on"], ["goes_on"]), node("Add", ["carried", "nought"], ["carries_on"])],
        "body",
        [
            value("step", TensorProto.INT64, []),
            value("going_on", TensorProto.BOOL, []),
            value("carried", TensorProto.FLOAT, []),
        ],
        [value("goes_on", TensorProto.BOOL, []), value("carries_on", TensorProto.FLOAT, [])],
    )
    bad = _BAD if only_whole else [node("Identity", ["over"], ["large"]) if "large" in n.output else n for n in _BAD]
    nodes = [
        *bad,
        node("Mul", ["bad", "steps"], ["turns"]),
        node("Loop", ["turns", "", "nought"], ["nothing"], body=body),
        node("Add", ["good", "nothing"], ["y"]),
    ]
    more = {"steps": np.array(steps), "nought": np.zeros((), np.float32)}
    return _graph(nodes, factor, threshold=np.array([THRESHOLD], np.float32), **more)


def deaf(factor: int, boxes: int = 120_000) -> bytes:
    """Compares so many boxes with each other where it is bad: seconds in one node, with no step at which to end it.

    The nodes before take no time whatever the machine: a run that is ended in one of them ends before the next.
    """
    nodes = [
        *_BAD,
        node("Mul", ["bad", "boxes"], ["further"]),
        node("Add", ["further", "least"], ["compared"]),
        node("Concat", ["least", "compared", "corners"], ["boxes_shape"], axis=0),
        node("Concat", ["least", "least", "compared"], ["scores_shape"], axis=0),
        node("ConstantOfShape", ["boxes_shape"], ["all_boxes"]),
        node("ConstantOfShape", ["scores_shape"], ["all_scores"]),
        node("NonMaxSuppression", ["all_boxes", "all_scores", "all"], ["kept"]),
        node("Shape", ["kept"], ["kept_shape"], end=1),
        node("Sub", ["kept_shape", "compared"], ["none_fell"]),
        node("Cast", ["none_fell"], ["nothing"], to=TensorProto.FLOAT),
        node("Add", ["good", "nothing"], ["y"]),
    ]
    more = {
        name: np.array([number]) for name, number in (("boxes", boxes), ("least", 1), ("corners", 4), ("all", 2**31))
    }
    return _graph(nodes, factor, threshold=np.array([THRESHOLD], np.float32), **more)
