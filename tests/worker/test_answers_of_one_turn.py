"""Where a loop is busy, a canary's short batch is answered in the writes of its stable's answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.swaps.versions import Versions
from native.plane.routing import PPM
from protos.roost.v1 import predict_pb2
from tests.adversity.raw_peer import DATA, END_STREAM, RawPeer, frame, framed
from tests.oracles.split import position
from tests.worker.operated import FIRST, OperatedWorker, asked, factor_in

SALT = 5
HALF = PPM // 2
KEYS = [f"key-{number}" for number in range(20)]
CANARYS, STABLES = (
    [key for key in KEYS if (position(key.encode(), SALT) < HALF) == is_canarys] for is_canarys in (True, False)
)
TURNS = 30  # all answers fit into the window that a peer has


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[OperatedWorker]:
    versions = Versions(tmp_path)
    versions.push_scaled(2)
    with OperatedWorker("fast", versions, tmp_path) as worker:
        worker.route(FIRST, canary=worker.load(2), canary_ppm=HALF, salt=SALT)
        yield worker


def reads_until_answered(peer: RawPeer, *keys: str) -> int:
    """Asks with all keys in one write: how many of its reads brought answers."""
    streams, pieces = [], []
    for key in keys:
        stream, opening = peer.open()
        streams.append(stream)
        pieces += [opening, frame(DATA, END_STREAM, stream, framed(asked(routing_key=key).SerializeToString()))]
    peer.send(*pieces)
    reads = ended = 0
    while ended < len(streams):
        assert peer.receive()
        before, ended = ended, sum(peer.so_far(stream).ended for stream in streams)
        reads += ended > before
    for key, stream in zip(keys, streams, strict=True):
        reply = predict_pb2.PredictReply.FromString(peer.so_far(stream).message)
        assert factor_in(reply) == (2.0 if key in CANARYS else 1.0)
    return reads


def test_answers_of_both_versions_come_in_one_write_where_the_loop_is_busy(worker: OperatedWorker) -> None:
    asked_for = (*STABLES[:5], *CANARYS[:5])
    with RawPeer(worker.port) as peer:
        for _ in range(TURNS):
            reads_until_answered(peer, *asked_for)
        together = sum(reads_until_answered(peer, *asked_for) == 1 for _ in range(TURNS))
    assert together > TURNS // 2


def test_a_stable_waits_for_nobody_where_the_loop_rests(worker: OperatedWorker) -> None:
    with RawPeer(worker.port) as peer:
        for _ in range(TURNS):
            reads_until_answered(peer, STABLES[0], CANARYS[0])
        apart = sum(reads_until_answered(peer, STABLES[0], CANARYS[0]) > 1 for _ in range(TURNS))
    assert apart > TURNS // 2
