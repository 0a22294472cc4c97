"""The examples run and are what the server takes."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime

from registry_client.onnx_model import read_onnx
from server.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_sklearn_example_writes_a_model_that_can_be_served_in_batches(tmp_path: Path) -> None:
    target = tmp_path / "iris.onnx"
    subprocess.run([sys.executable, ROOT / "examples" / "export_sklearn.py", target], check=True, capture_output=True)
    model = read_onnx(target.read_bytes())
    (measurements,) = model.signature.inputs
    assert measurements.name == "measurements"
    assert measurements.has_free_rows
    session = onnxruntime.InferenceSession(model.model_bytes, providers=["CPUExecutionProvider"])
    label, probabilities = session.run(None, {"measurements": np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)})
    assert label.tolist() == [0]
    assert probabilities.shape == (1, 3)


def test_the_configuration_example_is_one_that_the_server_takes() -> None:
    settings = Settings.model_validate(tomllib.loads((ROOT / "examples" / "roost.toml").read_text()))
    assert settings.server.workers == 2
    assert [model.name for model in settings.models] == ["employment", "iris"]
