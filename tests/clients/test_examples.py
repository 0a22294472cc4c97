"""The client examples run as their first lines say, against Roost by either listener."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.servers import REPOSITORY, Served


def _run(example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / example), *arguments],
        env={"PYTHONPATH": str(REPOSITORY / "clients" / "python")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_predict_example_prints_every_output_of_any_model(roost_server: Served):
    for model, output in (("mlp", "scores: float32[3, 2]"), ("echo", "text_echo: object[3, 2]"), ("scalar", "x_echo")):
        ended = _run("client_predict.py", model, "--target", roost_server.target, "--rows", "3")
        assert ended.returncode == 0, ended.stderr
        assert output in ended.stdout


def test_the_predict_example_ends_in_one_line_where_the_model_is_unknown(roost_server: Served):
    ended = _run("client_predict.py", "nobody", "--target", roost_server.target)
    assert ended.returncode == 1
    assert ended.stderr.startswith("ModelNotFound: ")
    assert "Traceback" not in ended.stderr


def test_the_concurrent_example_answers_every_call(roost_server: Served):
    arguments = ["--target", roost_server.target, "--input", "features", "--width", "32", "--calls", "200"]
    ended = _run("client_concurrent.py", "mlp", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("200 predictions in ")
