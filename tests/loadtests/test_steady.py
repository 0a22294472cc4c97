"""The steady profile in its own process, as people run it, against a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.models import mlp_model
from benchmarks.servers import REPOSITORY, Served

PROFILE_S_MAX = 60


def _run_profile(*arguments: str) -> tuple[int, str]:
    """Exit code and all output of `python -m loadtests.steady`."""
    ended = subprocess.run(
        [sys.executable, "-m", "loadtests.steady", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PROFILE_S_MAX,
        check=False,
    )
    return ended.returncode, ended.stdout


def _requests(output: str, name: str) -> int:
    return int(re.search(rf"^grpc +{name} +(\d+) ", output, re.MULTILINE)[1])


def test_five_seconds_of_steady_load_end_without_a_wrong_answer(mlp_server: Served, mlp_file: Path):
    code, output = _run_profile("--target", mlp_server.target, "--model", "mlp", "--onnx", str(mlp_file), "-t", "5s")
    assert code == 0, output
    assert _requests(output, "Predict") > 100
    assert _requests(output, "ModelInfer") > 100
    assert mlp_server.process.poll() is None


def test_answers_of_another_model_fail_the_run(mlp_server: Served, tmp_path: Path):
    other = tmp_path / "other.onnx"
    other.write_bytes(mlp_model(seed=1))
    code, output = _run_profile("--target", mlp_server.target, "--model", "mlp", "--onnx", str(other), "-t", "1s")
    assert code == 1
    assert "scores: not what ONNX Runtime answers to the same rows" in output


def test_refused_calls_fail_the_run(mlp_server: Served, mlp_file: Path):
    code, output = _run_profile("--target", mlp_server.target, "--model", "nobody", "--onnx", str(mlp_file), "-t", "3s")
    assert code == 1
    assert "NOT_FOUND" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--onnx", "nothing.onnx"], "No such file or directory: 'nothing.onnx'"),
        (["--bundle", "nothing"], "nothing"),
        (["--registry", "nothing", "--model", "nobody"], "--onnx FILE or --bundle FOLDER name the served model"),
    ],
)
def test_a_run_without_a_model_file_ends_at_once_and_says_why(arguments: list[str], message: str):
    code, output = _run_profile("-t", "20s", *arguments)
    assert code == 1
    assert message in output
    assert "Traceback" not in output
