"""Two workers, one listening socket: each gets its part of the connections, and neither can starve the other's."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

import numpy as np

from native.plane.layout import HEADER_CONNECTIONS
from tests.adversity.raw_peer import RawPeer, framed
from tests.behaviour.messages import predict_request
from tests.http2.conftest import Pair

CALL = framed(predict_request("mlp", {"features": np.zeros((1, 32), np.float32)}).SerializeToString())


def connections(pair: Pair) -> list[int]:
    return [int(worker.plane.block(worker.index).header[HEADER_CONNECTIONS]) for worker in pair.both]


def test_connections_are_shared_out_and_a_dead_or_hung_worker_takes_no_client_down(pair: Pair) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(pair.port)) for _ in range(40)]
        assert [peer.ask(CALL).status for peer in peers] == [0] * 40
        time.sleep(0.6)  # both publish
        shares = connections(pair)
        assert sum(shares) == 40
        assert min(shares) >= 12, shares
    until = time.monotonic() + 5
    while sum(connections(pair)) and time.monotonic() < until:
        time.sleep(0.05)

    # A worker that hangs, and has the fewest connections by its last word, is waited for only so long.
    hung = pair.second.process
    assert hung is not None
    os.kill(hung.pid, signal.SIGSTOP)
    try:
        with ExitStack() as stack:
            started = time.monotonic()
            for _ in range(20):
                assert stack.enter_context(RawPeer(pair.port)).ask(CALL).status == 0
            assert time.monotonic() - started < 5
    finally:
        os.kill(hung.pid, signal.SIGCONT)

    # One that dies takes its own connections along, and nobody else's.
    hung.kill()
    hung.wait()
    with RawPeer(pair.port) as peer:
        assert all(peer.ask(CALL).status == 0 for _ in range(10))
