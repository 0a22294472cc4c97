"""The models that benchmarks, load tests and peers serve: small, seeded, the same bytes on every machine.

Always: weights come from the seed alone, and the graph names no clock or host, so that a digest can be quoted.
Run it to write the file: `python -m benchmarks.models --out mlp.onnx`.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MLP_FEATURES = 32
MLP_HIDDEN = 64
MLP_CLASSES = 2
OPSET = 17
IR_VERSION = 8


def mlp_model(seed: int = 20240601) -> bytes:
    """ONNX bytes of the 32-64-64-2 perceptron: `features` float32 [rows, 32] to `scores` float32 [rows, 2], a softmax.

    Weights are scaled by sqrt(2 / fan in), so that scores of standard normal rows spread over (0, 1)
    instead of sticking to its ends: an answer then identifies its row.
    """
    random = np.random.default_rng(seed)
    sizes = (MLP_FEATURES, MLP_HIDDEN, MLP_HIDDEN, MLP_CLASSES)
    nodes, weights, current = [], [], "features"
    for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        last = layer == len(sizes) - 2
        scale = np.sqrt(2.0 / fan_in)
        weight = random.standard_normal((fan_in, fan_out)).astype(np.float32) * np.float32(scale)
        bias = random.standard_normal(fan_out).astype(np.float32) * np.float32(0.1)
        weights += [numpy_helper.from_array(weight, f"w{layer}"), numpy_helper.from_array(bias, f"b{layer}")]
        nodes.append(helper.make_node("Gemm", [current, f"w{layer}", f"b{layer}"], [f"z{layer}"]))
        current = "scores" if last else f"h{layer}"
        kind = {"axis": 1} if last else {}
        nodes.append(helper.make_node("Softmax" if last else "Relu", [f"z{layer}"], [current], **kind))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", MLP_FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", MLP_CLASSES])],
        weights,
    )
    return _model_bytes(graph)


def echo_model(inputs: dict[str, tuple[int, list[int | str]]]) -> bytes:
    """ONNX bytes of a model that hands each input back as `<input>_echo`.

    inputs: name to (onnx TensorProto element type, shape with names for free dimensions; [] is a scalar). It shows
    whether a tensor of any type survives the way to the model and back.
    """
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_echo"]) for name in inputs],
        "echo",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(f"{name}_echo", kind, shape) for name, (kind, shape) in inputs.items()],
    )
    return _model_bytes(graph)


def _model_bytes(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the 32-64-64-2 perceptron as an ONNX file.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=20240601)
    arguments = parser.parse_args()
    arguments.out.write_bytes(mlp_model(arguments.seed))


if __name__ == "__main__":
    main()
