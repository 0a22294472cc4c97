"""Where a loop is busy, a canary's short batch is answered in the writes of its stable's answers."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.rollouts.canaries import looping
from benchmarks.swaps.versions import Versions, scaled
from native.plane.routing import PPM
from protos.roost.v1 import predict_pb2
from tests.adversity.raw_peer import DATA, END_STREAM, RawPeer, frame, framed
from tests.oracles.split import position
from tests.worker.bad_versions import THRESHOLD
from tests.worker.operated import FIRST, OperatedWorker, asked, factor_in, rows

SALT = 5
HALF = PPM // 2
KEYS = [f"key-{number}" for number in range(20)]
CANARYS, STABLES = (
    [key for key in KEYS if (position(key.encode(), SALT) < HALF) == is_canarys] for is_canarys in (True, False)
)
MANY, FEW = (*STABLES[:5], *CANARYS[:5]), (STABLES[0], CANARYS[0])
TURNS = 30  # all answers fit into the window that a peer has
STEPS_SLOW = 3000
QUIET_S = 0.01


class Turns:
    """A worker whose stable is version 1 and whose canary has half of the keys, and one connection to it."""

    def __init__(self, peer: RawPeer, counts: Path) -> None:
        self._peer, self._counts = peer, counts

    def ask(self, *keys: str, first: float = 1.0) -> int:
        """Asks with all keys in one write: how many writes brought the answers."""
        streams, pieces, before = [], [], self._writes()
        for key in keys:
            stream, opening = self._peer.open()
            streams.append(stream)
            message = framed(asked(rows(first=first), routing_key=key).SerializeToString())
            pieces += [opening, frame(DATA, END_STREAM, stream, message)]
        self._peer.send(*pieces)
        for key, stream in zip(keys, streams, strict=True):
            reply = predict_pb2.PredictReply.FromString(self._peer.answer(stream).message)
            assert factor_in(reply) == first * (2.0 if key in CANARYS else 1.0)
        return self._writes() - before

    def _writes(self) -> int:
        """The worker counts them a moment after they have come."""
        last, now = -1, int.from_bytes(self._counts.read_bytes(), sys.byteorder)
        while now != last:
            time.sleep(QUIET_S)
            last, now = now, int.from_bytes(self._counts.read_bytes(), sys.byteorder)
        return now


@pytest.fixture
def turns(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Turns]:
    counts = tmp_path / "writes"
    counts.write_bytes(bytes(8))
    versions = Versions(tmp_path)
    versions.push_scaled(1)
    worker = OperatedWorker("fast", versions, tmp_path)
    worker.program = (str(Path(__file__).with_name("writing_worker.py")), str(counts))
    with worker, RawPeer(worker.port) as peer:
        make = getattr(request, "param", scaled)
        worker.route(FIRST, canary=worker.load(versions.push(make(2), 2)), canary_ppm=HALF, salt=SALT)
        yield Turns(peer, counts)


def test_answers_of_both_versions_leave_in_one_write_where_the_loop_is_busy(turns: Turns) -> None:
    # Not in all turns: a loop is not known to be busy at first, and where a machine has much to do a canary's batch is
    # late at times, and several after it are not waited for. Who does not wait needs two writes always.
    assert any(turns.ask(*MANY) == 1 for _ in range(2 * TURNS))


def test_a_stables_answers_wait_for_nobody_where_the_loop_rests(turns: Turns) -> None:
    for _ in range(TURNS):
        turns.ask(*FEW)
    assert min(turns.ask(*FEW) for _ in range(TURNS)) == 2


@pytest.mark.parametrize("turns", [lambda factor: looping(factor, STEPS_SLOW)], indirect=True)
def test_answers_that_waited_for_one_that_is_late_leave_without_it(turns: Turns) -> None:
    """A canary that was quick so far and is slow for some inputs: each is answered, in whatever writes."""
    assert any(turns.ask(*MANY) == 1 for _ in range(2 * TURNS))
    assert turns.ask(*MANY, first=THRESHOLD) > 1
