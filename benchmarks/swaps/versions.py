"""Versions of one model that tell themselves apart: version k answers y = factor(k) * x, exactly.

Used by `benchmarks.swaps` and by the tests of whole rollouts. Inputs are whole numbers below VALUES_END and factors
below FACTORS_END. Always: every right answer is a whole number that float32 holds, so that it is compared bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from registry_client.baseline.document import Baseline
from registry_client.bundle import write_bundle
from registry_client.manifest import Lineage
from registry_client.onnx_model import read_onnx
from registry_client.opening import open_registry
from registry_client.reference_run import record_golden

NAME = "scaled"
WIDTH = 4
VALUES_END = 1024
FACTORS_END = 1 << 14
OPSET, IR_VERSION = 21, 10
assert VALUES_END * FACTORS_END <= 1 << 24, "float32 holds every whole number up to 2^24"

node, value = helper.make_node, helper.make_tensor_value_info


def graph_bytes(
    nodes: Sequence[onnx.NodeProto], constants: dict[str, np.ndarray], width: int = WIDTH, name: str = "graph"
) -> bytes:
    """A model of x float32 [rows, width] to y of the same shape."""
    graph = helper.make_graph(
        list(nodes),
        name,
        [value("x", TensorProto.FLOAT, ["rows", width])],
        [value("y", TensorProto.FLOAT, ["rows", width])],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString(deterministic=True))


def scaled(factor: int, name: str = "graph") -> bytes:
    """y = factor * x. name: of the graph, which gives the same function another digest."""
    assert 0 < factor < FACTORS_END, factor
    return graph_bytes([node("Mul", ["x", "factor"], ["y"])], {"factor": np.array([factor], np.float32)}, name=name)


class Versions:
    """A registry with one model, and what each version answers. location: its own, else that of a folder below."""

    def __init__(self, folder: Path, location: str | None = None) -> None:
        self.folder = folder
        self.root = folder / "registry"
        self.root.mkdir(parents=True, exist_ok=True)
        self.location = location or str(self.root)
        self.factors: list[int] = [0]  # by version; there is none 0
        self.digests: list[str] = [""]

    def push(
        self, model_bytes: bytes, factor: int, aliases: tuple[str, ...] = (), baseline: Baseline | None = None
    ) -> int:
        """One more version, its number. factor: of its right answers."""
        number = len(self.factors)
        model = read_onnx(model_bytes)
        bundle = self.folder / f"bundle-{number}"
        write_bundle(
            bundle,
            name=NAME,
            model_bytes=model_bytes,
            golden=record_golden(model, rows=2),
            lineage=Lineage(parameters={"number": number}),
            baseline=baseline,
        )
        pushed = open_registry(self.location).push(bundle, aliases=aliases)
        assert int(pushed.version) == number, (pushed.version, number)
        self.factors.append(factor)
        self.digests.append(pushed.digest)
        return number

    def push_scaled(self, count: int, make: Callable[[int], bytes] = scaled) -> None:
        """So many more versions with factors of their own; the first of all is @stable."""
        for _ in range(count):
            number = len(self.factors)
            self.push(make(number), number, ("stable",) if number == 1 else ())
