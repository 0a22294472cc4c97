"""A worker's memory while it tries a version: a run that wants far more than it may fails, and takes nothing."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from benchmarks.rollouts.canaries import looping, swelling
from benchmarks.swaps.versions import Versions
from native.plane.routes import SeatRef
from native.plane.routing import PPM, SEAT_STATE_EMPTY, SEAT_STATE_FAILED, SEAT_STATE_READY
from server.settings import TrialSettings
from tests.behaviour.worker_process import LISTENERS, ROOT
from tests.oracles.split import position
from tests.worker.bad_versions import THRESHOLD
from tests.worker.operated import FIRST, OperatedWorker, asked, factor_in, predict, rows

MIB = 1 << 20

# Says, in a process of its own, which of some allocations it is given.
PROGRAM = """
import mmap, resource
from server.worker.memory_limit import DATA, MARGIN_BYTES, PAGE_BYTES, RESIDENT, MemoryLimit
def pages(field):
    return int(open("/proc/self/statm").read().split()[field]) * PAGE_BYTES
def memory(mebibytes):
    return mmap.mmap(-1, mebibytes << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
def gives(mebibytes):
    try:
        memory(mebibytes).close()
    except OSError:
        return False
    return True
MIB, SECOND = 1 << 20, 10**9
"""


def said(program: str) -> list[object]:
    done = subprocess.run(
        (sys.executable, "-c", PROGRAM + program), cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return [eval(line) for line in done.stdout.splitlines()]  # what PROGRAM printed


def test_it_is_what_may_be_resident_and_a_margin_and_goes_when_it_is_lifted() -> None:
    program = """
limit = MemoryLimit(pages(RESIDENT) + 300 * MIB)
print(gives(2000))
limit.follow(False, 0); print(gives(2000))
limit.follow(True, 0); print((gives(500), gives(600)))
limit.follow(False, 0); print(gives(2000))
limit.follow(True, 0); limit.lift(); print(gives(2000))
limit.follow(False, SECOND); limit.follow(True, SECOND); print(gives(600))  # at once, whatever the clock says
"""
    assert said(program) == [True, True, (True, False), True, True, False]


def test_it_follows_what_the_process_has_taken_once_a_second() -> None:
    program = """
limit = MemoryLimit(pages(RESIDENT) + 300 * MIB)
limit.follow(True, 0)
untouched = memory(200); print((gives(300), gives(400)))  # that counts as taken
limit.follow(True, SECOND - 1); print((gives(300), gives(400)))
limit.follow(True, SECOND); print((gives(500), gives(600)))
for page in range(0, len(untouched), PAGE_BYTES): untouched[page] = 1
limit.follow(True, 2 * SECOND); print((gives(300), gives(400)))
"""
    assert said(program) == [(True, False), (True, False), (True, False), (True, False)]


def test_who_has_more_than_it_may_keeps_a_margin() -> None:
    program = """
limit = MemoryLimit(1)
limit.follow(True, 0); print((gives(240), gives(270)))
"""
    assert said(program) == [(True, False)]


def test_a_limit_that_was_there_before_holds() -> None:
    program = """
before = pages(DATA) + 100 * MIB
resource.setrlimit(resource.RLIMIT_DATA, (before, resource.RLIM_INFINITY))
limit = MemoryLimit(pages(RESIDENT) + 1000 * MIB)
limit.follow(True, 0); print((gives(90), gives(150)))
limit.lift(); print(resource.getrlimit(resource.RLIMIT_DATA) == (before, resource.RLIM_INFINITY))
"""
    assert said(program) == [(True, False), True]


SALT, HALF, BUDGET, MARGIN = 5, PPM // 2, 600 * MIB, 256 * MIB
TOO_MUCH_MIB = (BUDGET + MARGIN) // MIB + 50
KEYS = [f"key-{number}" for number in range(20)]
CANARYS, STABLES = (
    [key for key in KEYS if (position(key.encode(), SALT) < HALF) == is_canarys] for is_canarys in (True, False)
)


class Limited(OperatedWorker):
    @property
    def limit(self) -> int:
        """Of its private memory, in bytes; resource.RLIM_INFINITY where it has none."""
        assert self.process is not None
        return resource.prlimit(self.process.pid, resource.RLIMIT_DATA)[0]

    def is_limited(self) -> bool:
        return self.limit != resource.RLIM_INFINITY

    def load_limited(self, factor: int) -> SeatRef:
        """A version that wants too much for some inputs."""
        ref = self.load(self.versions.push(swelling(factor, TOO_MUCH_MIB), factor))
        self.until(self.is_limited, "from before it is sent anything")  # and a moment after it is said to be ready
        return ref

    def expected_limit(self) -> int:
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        resident, data = (int(pages[field]) * resource.getpagesize() for field in (1, 5))
        return data + BUDGET - resident + MARGIN


@pytest.fixture(params=LISTENERS)
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Limited]:
    versions = Versions(tmp_path)
    versions.push_scaled(1)
    trial = TrialSettings(worker_memory_bytes_max=BUDGET)
    with Limited(request.param, versions, tmp_path, trial=trial) as worker:
        yield worker


def test_a_canary_that_wants_too_much_gets_an_error_and_its_worker_stays_as_it_is(worker: Limited) -> None:
    assert not worker.is_limited()
    ref = worker.load_limited(2)
    resident = worker.resident_bytes()
    assert worker.limit == pytest.approx(worker.expected_limit(), abs=20 * MIB)
    worker.route(FIRST, canary=ref, canary_ppm=HALF, salt=SALT)
    with worker.channel() as channel:
        ask = predict(channel)
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as failed:
                ask(asked(rows(first=THRESHOLD), routing_key=CANARYS[0]), timeout=30)
            assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, failed.value.details()
            assert factor_in(ask(asked(routing_key=STABLES[0]), timeout=30)) == 1.0
        assert factor_in(ask(asked(routing_key=CANARYS[0]), timeout=30)) == 2.0
    assert worker.resident_bytes() < resident + 100 * MIB
    worker.route(FIRST)
    worker.vacate(ref)
    worker.until(lambda: not worker.is_limited(), "it is lifted")


def test_only_what_is_tried_is_limited(worker: Limited) -> None:
    """Not what is kept to go home to, nor what was promoted; and what is there already is limited as it is tried."""
    second = worker.load_limited(2)
    worker.route(second, last_safe=FIRST)
    worker.until(lambda: not worker.is_limited(), "it has been promoted")
    with worker.channel() as channel:
        assert factor_in(predict(channel)(asked(rows(first=THRESHOLD)), timeout=60)) == 2.0 * THRESHOLD
    worker.route(FIRST, shadow=second)
    worker.until(worker.is_limited, "it is a shadow")
    worker.route(FIRST, last_safe=second)
    worker.until(lambda: not worker.is_limited(), "it is a shadow no more")


def test_a_load_has_no_limit(worker: Limited) -> None:
    worker.load_limited(2)
    ref = worker.fill(worker.versions.push(looping(3, 10), 3))
    seen = set()
    worker.until(
        lambda: seen.add(worker.is_limited()) or worker.told.state(ref.seat) == (SEAT_STATE_READY, ref.generation),
        "it is loaded",
    )
    assert seen == {True, False}
    worker.until(worker.is_limited, "the limit holds again")


def test_a_load_that_is_refused_leaves_the_limit_as_it_was(worker: Limited) -> None:
    worker.load_limited(2)
    bad = worker.versions.push(looping(3, 10), 3)
    (worker.versions.root / "bundles" / worker.versions.digests[bad] / "model.onnx").write_bytes(b"no model")
    ref = worker.fill(bad)
    worker.until(lambda: worker.told.state(ref.seat) == (SEAT_STATE_FAILED, ref.generation), "it is refused")
    worker.until(worker.is_limited, "the limit holds again")


def test_a_worker_that_begins_with_a_canary_loads_all_without_a_limit(worker: Limited) -> None:
    ref = worker.load_limited(2)
    worker.route(FIRST, canary=ref, canary_ppm=HALF, salt=SALT)
    worker.stop()
    limited_by_state = set()

    def is_ready() -> bool:
        is_limited, ready = worker.is_limited(), worker.told.state(ref.seat) == (SEAT_STATE_READY, ref.generation)
        limited_by_state.add((ready, is_limited))
        return ready and is_limited

    worker.told.set_state(ref.seat, ref.generation, SEAT_STATE_EMPTY)  # what the first process said
    worker.start()
    worker.until(is_ready, "it has loaded both")
    assert (False, True) not in limited_by_state
    assert (False, False) in limited_by_state


def test_this_process_has_no_limit() -> None:
    """Or those of its children would be no test."""
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
