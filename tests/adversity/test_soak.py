"""Cancels and connects by the thousand leave nothing behind: no slot, no descriptor, no memory.

A short version runs with the suite; `--soak` runs 100,000 cancels and 10,000 connects.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from tests.adversity.attacked_worker import AttackedWorker, Workers, no_limits
from tests.adversity.raw_peer import DATA, END_STREAM, RST_STREAM, frame

CANCEL = struct.pack(">I", 8)
RSS_GROWTH_MAX = 1.1
AT_ONCE = 50


@pytest.fixture
def soaked(attacked_workers: Workers) -> Iterator[AttackedWorker]:
    """The worker without limits, left alone by neighbours: their descriptors and memory would count."""
    worker = attacked_workers.get(queue_rows_max=65536, **no_limits())
    worker.settles()
    yield worker
    with worker.peer() as peer:
        worker.verify(peer)


def cancels(worker: AttackedWorker, count: int) -> None:
    """Calls that are cancelled before, amid and behind their message, and while they run."""
    call, slow = worker.mlp_call(), worker.slow_call(1)
    with worker.peer() as peer:
        for start in range(0, count, AT_ONCE):
            sent = []
            for at in range(start, start + AT_ONCE):
                stream, opening = peer.open()
                message = (
                    b"",
                    frame(DATA, 0, stream, call[:30]),
                    frame(DATA, END_STREAM, stream, call),
                    frame(DATA, END_STREAM, stream, slow if at % 40 == 3 else call[:9]),
                )[at % 4]
                sent += [opening, message, frame(RST_STREAM, 0, stream, CANCEL)]
            assert peer.send(*sent)
            assert peer.is_served()
            peer.frames.clear()


def connects(worker: AttackedWorker, count: int) -> None:
    """Connections that are dropped before, amid and behind a call."""
    call = worker.mlp_call()
    for at in range(count):
        with worker.peer(hello=at % 4 != 0) as peer:
            if at % 4 == 1:
                peer.send(peer.open()[1])
            elif at % 4 == 2:
                peer.call(call)
            elif at % 4 == 3:
                assert peer.ask(call).status == 0


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("attack", "short", "whole"), [(cancels, 5_000, 100_000), (connects, 500, 10_000)], ids=["cancels", "connects"]
)
def test_nothing_stays_behind(
    soaked: AttackedWorker, request: pytest.FixtureRequest, attack: object, short: int, whole: int
) -> None:
    assert callable(attack)
    attack(soaked, short)
    soaked.settles()
    descriptors, rss_bytes = soaked.descriptors(), soaked.rss_bytes()
    attack(soaked, whole if request.config.getoption("--soak", default=False) else short)
    soaked.settles()
    assert soaked.descriptors() <= descriptors
    assert soaked.rss_bytes() <= rss_bytes * RSS_GROWTH_MAX
