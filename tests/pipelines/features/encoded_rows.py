"""For these tests: bodies to put an encoder in front of, and what a graph answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pipelines.examples import NUMBERS
from pipelines.features.declaration import Code, Cycle, FeatureSet, Number, Text
from pipelines.features.graph import ENCODED, exposing, with_encoder
from pipelines.features.matrix import Encoder

OF_ALL_KINDS = FeatureSet(
    (
        Text("origin", "where from", ("JFK", "LGA", "EWR")),
        Number("delay", "how late", -30.5, 1440, "minutes"),
        Code("sex", "sex", {1: "male", 2: "female"}),
        Cycle("hour", "hour of the day", 24),
        Code("gapped", "with gaps between its codes", {-3: "a", 0: "b", 1: "c", 1000: "d"}),
        Text("dest", "where to", ("BOS", "JFK", "São Paulo")),
        Number("humid", "humidity", 0, 100, "per cent"),
        Cycle("day", "day of the year", 365.25),
    )
)


def body(width: int, *, opset: int = 15, name: str = "x", weight: float = 0.5) -> ModelProto:
    """A learner whose answer is a weighted sum of the encoded columns."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", [name, "weights"], ["prediction"])],
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])],
        [helper.make_tensor_value_info("prediction", TensorProto.FLOAT, ["rows", 1])],
        [numpy_helper.from_array(np.full((width, 1), weight, dtype=np.float32), "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def encoded_by_graph(encoder: Encoder, inputs: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """The tensor between encoding and learner, as ONNX Runtime makes it."""
    model = exposing(with_encoder(encoder, body(encoder.width)), ENCODED)
    found: npt.NDArray[np.float32] = session(model).run([ENCODED], inputs)[0]
    return found


def bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """To compare NaN, too. One NaN is like another; plus nothing: zeros have no sign."""
    found: npt.NDArray[np.uint32] = (np.where(np.isnan(values), np.float32(np.nan), values) + np.float32(0)).view("u4")
    return found


def numbers(*rows: list[float]) -> dict[str, npt.NDArray[Any]]:
    return {NUMBERS: np.array(rows, dtype=np.float32)}


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]
