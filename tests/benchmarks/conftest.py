"""One quick run of the whole benchmark, shared by the tests that read its table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.machine import what_is_missing
from benchmarks.models import mlp_model
from benchmarks.servers import REPOSITORY

RUN_S_MAX = 280

needs_h2load = pytest.mark.skipif(what_is_missing() is not None, reason=str(what_is_missing()))


def roost(*arguments: object) -> None:
    command = [sys.executable, "-m", "server.cli", *map(str, arguments)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def stand_in_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry whose `employment@stable` is the perceptron: to train the real one takes a minute and a download."""
    folder = tmp_path_factory.mktemp("registry")
    file, bundle, root = folder / "mlp.onnx", folder / "bundle", folder / "root"
    file.write_bytes(mlp_model())
    roost("bundle", file, "--name", "employment", "--out", bundle)
    roost("push", bundle, "--registry", root, "--alias", "stable")
    return root


@pytest.fixture(scope="session")
def quick_run(stand_in_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `python -m benchmarks --quick` wrote, with its page and its output under `page` and `said`."""
    if (missing := what_is_missing()) is not None:
        pytest.skip(missing)
    out = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(out), "--registry", str(stand_in_registry)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=RUN_S_MAX, check=False)
    assert ended.returncode == 0, ended.stderr
    document: dict[str, Any] = json.loads((out / "bench.json").read_text())
    return document | {"page": (out / "bench.md").read_text(), "said": ended.stdout}
