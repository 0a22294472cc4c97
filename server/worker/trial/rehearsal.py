"""A rehearsal: the loader runs a model of its own, so that no child has to make what every model needs.

Used by `python -m server.worker.trial` before it forks. A process's first session makes ONNX Runtime's environment and
its tables of operators: 20 of a child's 30 ms, and 9 MiB with which the artifact would be weighed, though a worker has
them already. Always: no thread is left over, since a fork takes none along.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from native.ort.library import available
from registry_client.onnx_model import read_onnx
from server.worker.models.examples import random_inputs
from server.worker.models.session import OnnxSession

OPSET, IR_VERSION = 17, 8  # older than any release that has the C API we call
ROWS = 2


def rehearse() -> None:
    """Loads a model, runs it and frees it. Nothing where ONNX Runtime can only be called through its API for Python,
    which was never seen to survive a fork."""
    if not available():
        return
    model = read_onnx(_sum_of_itself())
    session = OnnxSession(model.model_bytes, model.signature)
    session.run(random_inputs(model.signature, ROWS, 1, np.random.default_rng(0)))
    session.close()


def _sum_of_itself() -> bytes:
    """y = x + x."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 1]) for name in ("x", "y"))
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "rehearsal", [x], [y])
    opsets = [helper.make_opsetid("", OPSET)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return bytes(model.SerializeToString())
