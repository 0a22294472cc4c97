"""Small ONNX models for the tests of this room, and one artifact made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node
value = helper.make_tensor_value_info

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
Shape = list[int | str]


def model_bytes(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, Shape]],
    outputs: dict[str, tuple[int, Shape]],
    constants: dict[str, np.ndarray] | None = None,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [value(name, *kind) for name, kind in inputs.items()],
        [value(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString(deterministic=True)


ROWS_OF_FOUR: dict[str, tuple[int, Shape]] = {"x": (FLOAT, ["rows", 4])}
ANSWERS_OF_FOUR: dict[str, tuple[int, Shape]] = {"y": (FLOAT, ["rows", 4])}


def doubled() -> bytes:
    """y = x + x, row by row."""
    return model_bytes([node("Add", ["x", "x"], ["y"])], ROWS_OF_FOUR, ANSWERS_OF_FOUR)


def centred() -> bytes:
    """y = x - mean of all rows."""
    return model_bytes(
        [node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1), node("Sub", ["x", "mean"], ["y"])],
        ROWS_OF_FOUR,
        ANSWERS_OF_FOUR,
        {"axes": np.array([0])},
    )


def embedded() -> bytes:
    """Rows of a table of 4, by index."""
    return model_bytes(
        [node("Gather", ["table", "index"], ["y"], axis=0)],
        {"index": (INT64, ["rows"])},
        {"y": (FLOAT, ["rows", 2])},
        {"table": np.arange(8, dtype=np.float32).reshape(4, 2)},
    )


def written(folder: Path, content: bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def endless() -> bytes:
    """y = x after 2^40 steps that do nothing: hours, unless it is ended."""
    body = helper.make_graph(
        [node("Identity", ["going_on"], ["goes_on"]), node("Add", ["carried", "zero"], ["carries_on"])],
        "body",
        [value("step", INT64, []), value("going_on", TensorProto.BOOL, []), value("carried", FLOAT, None)],
        [value("goes_on", TensorProto.BOOL, []), value("carries_on", FLOAT, None)],
    )
    return model_bytes(
        [node("Loop", ["steps", "yes", "x"], ["y"], body=body)],
        ROWS_OF_FOUR,
        ANSWERS_OF_FOUR,
        {"steps": np.array(2**40), "yes": np.array(True), "zero": np.zeros((), np.float32)},
    )


def heavy(megabytes: int) -> bytes:
    """y = x times a square matrix of ones, of about that size."""
    width = int((megabytes * 2**20 / 4) ** 0.5)
    return model_bytes(
        [node("MatMul", ["x", "weights"], ["y"])],
        {"x": (FLOAT, ["rows", width])},
        {"y": (FLOAT, ["rows", width])},
        {"weights": np.ones((width, width), np.float32)},
    )
