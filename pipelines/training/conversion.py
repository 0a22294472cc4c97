"""Conversion: a learner as the graph that is served, which takes raw values. Used by `stages/train.py`.

Inputs are the features' own (`features`, and `texts` where there are any); outputs `label` int64[rows] and
`probabilities` float32[rows, classes] of classes, `prediction` float32[rows] of a quantity, in the label's unit.
Always: the bytes depend on the learner and the encoder alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from pipelines.definition import Regression
from pipelines.features.graph import with_encoder
from pipelines.features.matrix import Encoder
from pipelines.training.learner import Learner, Task

LABEL: Final = "label"
PROBABILITIES: Final = "probabilities"
PREDICTION: Final = "prediction"
ROWS: Final = "encoded_rows"
"""A body's one input, float32[rows, width]; `with_encoder` gives it another name."""

# What onnxmltools writes trees for; every ONNX Runtime of the last years has it.
OPSET, ML_OPSET, IR_VERSION = 15, 1, 8


def to_onnx(learner: Learner, encoder: Encoder) -> bytes:
    """The whole graph, checked. Raises Refusal where the learner's body does not fit the encoder."""
    model = with_encoder(encoder, learner.body())
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def body_of(task: Task, width: int, nodes: Sequence[NodeProto], constants: Sequence[TensorProto] = ()) -> ModelProto:
    """Nodes that lead from ROWS to the task's outputs, as a model. Nothing in it is random or of a version."""
    inputs = [helper.make_tensor_value_info(ROWS, TensorProto.FLOAT, ["rows", width])]
    graph = helper.make_graph(nodes, "model", inputs, _outputs(task), list(constants))
    sets = [helper.make_opsetid("", OPSET)]
    if any(node.domain for node in nodes):
        sets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    return helper.make_model(graph, opset_imports=sets, ir_version=IR_VERSION, producer_name="roost")


def _outputs(task: Task) -> list[ValueInfoProto]:
    if isinstance(task, Regression):
        return [helper.make_tensor_value_info(PREDICTION, TensorProto.FLOAT, ["rows"])]
    return [
        helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["rows"]),
        helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["rows", len(task.labels)]),
    ]
