"""The one idea, counted: Python runs once per batch and once per socket read, never once per request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import h2load
from benchmarks.h2load import Aim, Load
from benchmarks.h2load_body import framed
from benchmarks.machine import what_is_missing
from tests.adversity.raw_peer import RawPeer, call_headers
from tests.behaviour.messages import infer_request, predict_request
from tests.behaviour.worker_process import WorkerProcess

LOAD = Load(connections=4, streams=64)
REQUESTS = 20_000
TRIES = 20  # neighbours make batches small, and so calls many, for several tries on end; nobody makes them fewer
CALLS_PER_REQUEST_MAX = 0.2
PREDICT = "/roost.v1.Prediction/Predict"
INFER = "/inference.GRPCInferenceService/ModelInfer"
MESSAGES = {PREDICT: predict_request, INFER: infer_request}

pytestmark = pytest.mark.alone  # beside others the load is slower than the server, and batches are small


@pytest.mark.skipif(what_is_missing() is not None, reason=str(what_is_missing()))
@pytest.mark.parametrize("path", MESSAGES)
def test_python_is_called_less_than_once_in_five_requests(
    path: str, scripted: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    counts, body = tmp_path / "calls", tmp_path / "body"
    counts.write_bytes(bytes(8))
    body.write_bytes(framed(MESSAGES[path]("mlp", {"features": np.zeros((1, 32), np.float32)}).SerializeToString()))
    worker = scripted("counted_worker.py", str(counts))
    with RawPeer(worker.port) as peer:
        answer = peer.ask(body.read_bytes(), call_headers(path))
        assert answer.status == 0, answer
    aim = Aim(
        f"http://127.0.0.1:{worker.port}{path}",
        body,
        ("content-type: application/grpc", "te: trailers"),
        len(answer.body),
    )
    h2load.run(aim, LOAD, REQUESTS // 4)  # first bindings, first connections
    least = min(_calls_per_request(aim, counts) for _ in range(TRIES))
    print(f"{path}: {least:.3f} Python function calls per request")
    assert 0 < least < CALLS_PER_REQUEST_MAX


def _calls_per_request(aim: Aim, counts: Path) -> float:
    before = int(np.fromfile(counts, np.int64)[0])
    h2load.run(aim, LOAD, REQUESTS)
    return (int(np.fromfile(counts, np.int64)[0]) - before) / REQUESTS
