"""A folder registry with several versions of one model, and a server of it, for tests of the operators' commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.servers import Served, roost_registry_command, served
from registry_client.bundle import write_bundle
from registry_client.onnx_model import read_onnx
from registry_client.opening import open_registry
from registry_client.reference_run import record_golden

MODEL, COLUMNS = "scaled", 4


def scaled(factor: float, nan_beyond: float | None = None) -> bytes:
    """y = factor * x, float32 [rows, 4]; NaN instead where x is greater than `nan_beyond`."""
    constants = [helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])]
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y" if nan_beyond is None else "product"])]
    if nan_beyond is not None:
        constants += [
            helper.make_tensor("limit", TensorProto.FLOAT, [], [nan_beyond]),
            helper.make_tensor("nan", TensorProto.FLOAT, [], [float("nan")]),
        ]
        nodes += [
            helper.make_node("Greater", ["x", "limit"], ["beyond"]),
            helper.make_node("Where", ["beyond", "nan", "product"], ["y"]),
        ]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", COLUMNS]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "scaled", tensors[:1], tensors[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def push_versions(folder: Path, models: Sequence[bytes]) -> tuple[str, tuple[str, ...]]:
    """(registry, digests): versions 1, 2, ... in their order; @stable is the first."""
    registry = open_registry(str(folder / "registry"))
    digests = []
    for index, model_bytes in enumerate(models):
        bundle = folder / f"bundle-{index}"
        model = read_onnx(model_bytes)
        manifest = write_bundle(bundle, name=MODEL, model_bytes=model_bytes, golden=record_golden(model, rows=4))
        registry.push(bundle, aliases=["stable"] if index == 0 else [], digest=manifest.digest)
        digests.append(manifest.digest)
    return str(folder / "registry"), tuple(digests)


@contextmanager
def serving(registry: str, folder: Path, *more: str) -> Iterator[Served]:
    """`roost serve` of MODEL@stable, which keeps its state in `folder`."""
    command = roost_registry_command(registry, f"{MODEL}@stable", "--state", str(folder / "state"), *more)
    with served(command, folder) as server:
        yield server


def row(value: float) -> np.ndarray:
    return np.full((1, COLUMNS), value, np.float32)
