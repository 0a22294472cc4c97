"""An exception in compiled code is success to libnghttp2: the lane closes the connection, and counts it."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from native.plane.counters import CUTOFF_CALLBACK_ERROR
from tests.adversity.raw_peer import RawPeer, call_headers, framed
from tests.behaviour.messages import predict_request
from tests.behaviour.worker_process import WorkerProcess

CALL = framed(predict_request("mlp", {"features": np.zeros((1, 32), np.float32)}).SerializeToString())


def test_an_exception_that_escapes_a_callback_ends_its_connection_only(
    scripted: Callable[..., WorkerProcess],
) -> None:
    worker = scripted("planted_worker.py")
    counts = worker.plane.block(0).counters
    with RawPeer(worker.port) as neighbour, RawPeer(worker.port) as peer:
        assert neighbour.ask(CALL).status == 0
        assert peer.ask(CALL).status == 0
        assert counts[CUTOFF_CALLBACK_ERROR] == 0
        peer.call(CALL, [*call_headers(), ("x-planted", "now")])
        assert peer.is_closed()
        assert neighbour.ask(CALL).status == 0
    until = time.monotonic() + 5
    while counts[CUTOFF_CALLBACK_ERROR] != 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert counts[CUTOFF_CALLBACK_ERROR] == 1
    assert "ValueError: planted" in worker.log.read_text(), "the cause is in the log"
