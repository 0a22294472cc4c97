"""A worker's memory while a model has two versions: a run that wants far more fails by itself, and takes nothing."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from benchmarks.rollouts.canaries import swelling
from benchmarks.swaps.versions import Versions
from native.plane.routing import PPM
from server.settings import TrialSettings
from tests.behaviour.worker_process import LISTENERS, ROOT
from tests.oracles.split import position
from tests.worker.bad_versions import THRESHOLD
from tests.worker.operated import FIRST, OperatedWorker, asked, factor_in, predict, rows

MIB = 1 << 20
UNLIMITED = "unlimited"

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
"""
    assert said(program) == [True, True, (True, False), True, True]


def test_it_follows_what_the_process_has_taken_once_a_second() -> None:
    program = """
limit = MemoryLimit(pages(RESIDENT) + 300 * MIB)
limit.follow(True, 0)
untouched = memory(200); print((gives(300), gives(400)))  # that counts as taken
limit.look(SECOND - 1); print((gives(300), gives(400)))
limit.look(SECOND); print((gives(500), gives(600)))
for page in range(0, len(untouched), PAGE_BYTES): untouched[page] = 1
limit.look(2 * SECOND); print((gives(300), gives(400)))
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


SALT, HALF, BUDGET = 5, PPM // 2, 600 * MIB
KEYS = [f"key-{number}" for number in range(20)]
CANARYS, STABLES = (
    [key for key in KEYS if (position(key.encode(), SALT) < HALF) == is_canarys] for is_canarys in (True, False)
)


@pytest.fixture(params=LISTENERS)
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OperatedWorker]:
    versions = Versions(tmp_path)
    versions.push_scaled(1)
    trial = TrialSettings(worker_memory_bytes_max=BUDGET)
    with OperatedWorker(request.param, versions, tmp_path, trial=trial) as worker:
        yield worker


def data_limit(worker: OperatedWorker) -> str:
    assert worker.process is not None
    lines = Path(f"/proc/{worker.process.pid}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith("Max data size")).split()[3]


def test_a_canary_that_wants_gigabytes_gets_an_error_and_its_worker_stays_as_it_is(worker: OperatedWorker) -> None:
    assert data_limit(worker) == UNLIMITED
    ref = worker.load(worker.versions.push(swelling(2, 8000), 2))
    limit, resident = data_limit(worker), worker.resident_bytes()
    assert int(limit) < resident + 4 * BUDGET  # it reserves more than it has touched
    worker.route(FIRST, canary=ref, canary_ppm=HALF, salt=SALT)
    with worker.channel() as channel:
        ask = predict(channel)
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as failed:
                ask(asked(rows(first=THRESHOLD), routing_key=CANARYS[0]), timeout=30)
            assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, failed.value.details()
            assert factor_in(ask(asked(routing_key=STABLES[0]), timeout=30)) == 1.0
        assert factor_in(ask(asked(routing_key=CANARYS[0]), timeout=30)) == 2.0
    assert worker.resident_bytes() < resident + 200 * MIB
    worker.route(FIRST)
    worker.vacate(ref)
    worker.until(lambda: data_limit(worker) == UNLIMITED, "it is lifted")


def test_this_process_has_no_limit() -> None:
    """Or those of its children would be no test."""
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
