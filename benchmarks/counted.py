"""The perceptron from a registry with a baseline, its rows counted by bin or not: what the counting costs.

Used by `python -m benchmarks`. Both are served alike otherwise, and take turns in each round.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.models import MLP_CLASSES, MLP_FEATURES, mlp_model
from benchmarks.servers import roost_registry_command
from registry_client.baseline.document import Baseline, Feature, Kind
from registry_client.bundle import write_bundle
from registry_client.onnx_model import read_onnx
from registry_client.opening import open_registry
from registry_client.reference_run import record_golden

NAME = "mlp"
BINS = 10
ROWS = 10_000
NORMAL_EDGES = tuple(np.linspace(-2.5, 2.5, BINS + 1).tolist())
SCORE_EDGES = tuple(np.linspace(0.0, 1.0, BINS + 1).tolist())


def counted_name(is_counted: bool) -> str:
    """Of the contender."""
    return f"Roost, Predict, rows {'counted' if is_counted else 'not counted'}"


def counted_commands(folder: Path) -> dict[str, list[str]]:
    """The two servers' commands, by contender; registry and settings are written to `folder`."""
    bundle, registry = folder / "counted-bundle", folder / "counted-registry"
    model = read_onnx(mlp_model())
    golden = record_golden(model, rows=2)
    write_bundle(bundle, name=NAME, model_bytes=mlp_model(), golden=golden, baseline=_baseline())
    open_registry(str(registry), must_exist=False).push(bundle, aliases=("stable",))
    return {counted_name(is_counted): _command(folder, registry, is_counted) for is_counted in (False, True)}


def _command(folder: Path, registry: Path, is_counted: bool) -> list[str]:
    settings = folder / f"counted-{is_counted}.toml"
    settings.write_text(f"[drift]\ncount = {str(is_counted).lower()}\n")
    state = folder / f"counted-{is_counted}-state"
    return roost_registry_command(
        str(registry), f"{NAME}@stable", "--config", str(settings), "--state", str(state)
    )


def _baseline() -> Baseline:
    """Ten bins for each of 32 columns, as `roost bundle --reference` would make of normal rows."""
    counts = (0, *[ROWS // BINS] * BINS, 0, 0, 0)
    inputs = tuple(
        Feature(f"x{column}", "features", column, Kind.NUMBER, NORMAL_EDGES, counts) for column in range(MLP_FEATURES)
    )
    predictions = tuple(
        Feature(f"score{column}", "scores", column, Kind.NUMBER, SCORE_EDGES, counts) for column in range(MLP_CLASSES)
    )
    return Baseline(ROWS, 0.0, inputs, predictions)
