"""The worker as a process: what it says when it cannot start, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from native.plane.layout import HEADER_GENERATION, HEADER_PID, WorkerState
from server.processes import EXIT_REFUSED
from server.settings import LogSettings, ModelSettings, Settings
from tests.behaviour.worker_process import ROOT, WorkerProcess
from tests.worker.onnx_graphs import doubled, written


def run_worker(document: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        (sys.executable, "-P", "-m", "server.worker"),
        input=document,
        capture_output=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("document", [b"", b"{}", b"not json", b'{"index": 99}'])
def test_a_document_that_is_no_worker_spec_is_refused_in_one_line(document: bytes) -> None:
    ended = run_worker(document)
    assert ended.returncode == EXIT_REFUSED
    assert ended.stderr.decode().startswith("standard input: ")
    assert ended.stderr.count(b"\n") == 1


@pytest.mark.parametrize("form", ["human", "json"])
def test_a_model_that_is_refused_ends_the_worker_with_one_line_of_the_log(
    tmp_path: Path, form: Literal["human", "json"]
) -> None:
    path = written(tmp_path, b"not an ONNX file")
    settings = Settings(models=(ModelSettings(name="broken", onnx=path),), logs=LogSettings(format=form))
    worker = WorkerProcess("grpcio", settings, tmp_path / "log")
    worker.start()
    assert worker.process is not None
    assert worker.process.wait(60) == EXIT_REFUSED
    assert worker.state is not WorkerState.READY
    (line,) = worker.log.read_text().splitlines()
    if form == "human":
        assert " worker 0  error: model broken: " in line
    else:
        event = json.loads(line)
        assert (event["level"], event["process"]) == ("error", "worker 0")
        assert event["message"].startswith("model broken: ")
    worker.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_drains_and_exits_with_0(tmp_path: Path, number: signal.Signals) -> None:
    settings = Settings(models=(ModelSettings(name="model", onnx=written(tmp_path, doubled())),))
    with WorkerProcess("grpcio", settings, tmp_path / "log") as worker:
        assert worker.process is not None
        header = worker.plane.block(0).header
        assert (header[HEADER_PID], header[HEADER_GENERATION]) == (worker.process.pid, 1)
        worker.process.send_signal(number)
        assert worker.process.wait(20) == 0
        assert worker.state is WorkerState.DRAINING
