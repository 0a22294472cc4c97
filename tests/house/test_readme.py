"""The pages' calls, run as they are written, against the employment model and its server."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from tests.pipelines.records import FEW, ROWS, as_options, with_records

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/start/first-model.md")
START_TIMEOUT_S = 220  # with cold kernels on a busy machine; `make test` warms them first
pytestmark = pytest.mark.timeout(300)
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python'}", "NO_COLOR": "1"}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


CALLS = [(page, index, block) for page in PAGES for index, block in enumerate(blocks(page, "python"))]
COMMANDS = [
    line.removeprefix("$ ")
    for page in ("README.md", "docs/guides/serve-an-onnx-file.md")
    for block in blocks(page, "console")
    for line in block.splitlines()
    if line.startswith("$ .venv/bin/roost ")
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    command = [sys.executable, "-m", "server.cli", "train", "employment", "--folder", str(with_records(folder / "run"))]
    options = ["--rows", str(ROWS), *as_options(*FEW), "--registry", str(folder / "registry")]
    subprocess.run([*command, *options], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    return folder / "registry"


@pytest.fixture(scope="module", params=["fast", "grpcio"])
def target(request: pytest.FixtureRequest, registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that serves employment@stable."""
    folder = tmp_path_factory.mktemp("serving")
    ready_file, log_file = folder / "ready.json", folder / "log"
    command = [sys.executable, "-m", "server.cli", "serve", "--registry", str(registry), "--model", "employment@stable"]
    for flag in ("--listen", "--http", "--admin"):
        command += [flag, "127.0.0.1:0"]
    command += ["--listener", request.param, "--ready-file", str(ready_file)]
    with log_file.open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=log)
    try:
        started = time.monotonic()
        while not ready_file.exists():
            assert server.poll() is None, log_file.read_text()[-3000:]
            assert time.monotonic() - started < START_TIMEOUT_S, log_file.read_text()[-3000:]
            time.sleep(0.05)
        yield json.loads(ready_file.read_text())["listen"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(40)


@pytest.mark.parametrize(("page", "index", "block"), CALLS, ids=[f"{page}-{index}" for page, index, _ in CALLS])
def test_a_call_runs_as_it_is_written(page: str, index: int, block: str, target: str) -> None:
    assert "127.0.0.1:8001" in block
    done = subprocess.run(
        [sys.executable, "-c", block.replace("127.0.0.1:8001", target)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    numbers = [float(number) for number in re.findall(r"\d+\.\d*(?:e-?\d+)?", done.stdout)]
    assert any(0 < number < 1 for number in numbers), done.stdout


def test_the_readme_has_a_call_from_each_of_three_clients() -> None:
    text = "".join(blocks("README.md", "python"))
    assert all(name in text for name in ("import roost", "import tritonclient.grpc", "import grpc\n"))


def test_the_commands_on_the_pages_run_in_their_order(tmp_path: Path) -> None:
    row = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 2])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "negate", [row], [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    # `serve` does not end by itself: the tests of the command line start it. Tour and lineage have tests of their own.
    registry = {"bundle", "verify", "push"}
    once = dict.fromkeys(command for command in COMMANDS if shlex.split(command)[1] in registry)
    others = {shlex.split(command)[1] for command in COMMANDS} - registry
    assert others == {"serve", "canary", "weights", "promote", "status", "explain", "journal", "lineage"}
    for command in once:
        done = subprocess.run(
            [sys.executable, "-m", "server.cli", *shlex.split(command)[1:]],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
