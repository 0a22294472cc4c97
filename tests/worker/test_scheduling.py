"""A worker's loop and its stable's runs interrupt what is longer; loads stay behind. Canaries: test_watchdog.py."""

from __future__ import annotations

import asyncio
import ctypes
import os
import platform
import threading
from pathlib import Path

import pytest

from benchmarks.swaps.versions import Versions
from server.scheduling import (
    LAST_NICENESS,
    PATIENT_SLICE_NS,
    URGENT_SLICE_NS,
    USUAL_SLICE_NS,
    SchedAttr,
    give_way,
    schedule_thread,
)
from server.worker.runner import Runner
from server.worker.seats import LOADER_NICENESS
from tests.worker.operated import OperatedWorker

SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
SLICES_SINCE = (6, 12)
KERNEL = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])

slices = pytest.mark.skipif(
    KERNEL < SLICES_SINCE or platform.machine() not in SCHED_GETATTR, reason="this kernel knows no slices of threads"
)


def told(thread: int = 0) -> SchedAttr:
    """What the system has of a thread, as sched_getattr(2) tells it. 0: the calling one."""
    found = SchedAttr()
    call = SCHED_GETATTR[platform.machine()]
    assert ctypes.CDLL(None).syscall(call, thread, ctypes.byref(found), ctypes.sizeof(found), 0) == 0
    return found


def in_thread(slice_ns: int, niceness: int) -> SchedAttr:
    found = []

    def ask() -> None:
        schedule_thread(slice_ns, niceness)
        found.append(told())

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


@slices
def test_an_urgent_thread_has_a_short_slice_and_is_as_nice_as_before() -> None:
    urgent, usual = in_thread(URGENT_SLICE_NS, 0), in_thread(USUAL_SLICE_NS, 0)
    assert urgent.runtime == URGENT_SLICE_NS < usual.runtime
    assert urgent.nice == usual.nice == os.getpriority(os.PRIO_PROCESS, 0)


@slices
def test_a_thread_of_an_urgent_one_goes_back_to_the_usual_slice() -> None:
    found = []

    def ask() -> None:
        schedule_thread(URGENT_SLICE_NS)
        found.append(in_thread(USUAL_SLICE_NS, 3))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found[0].runtime == in_thread(USUAL_SLICE_NS, 0).runtime
    assert found[0].nice == os.getpriority(os.PRIO_PROCESS, 0) + 3


@slices
def test_a_runners_thread_is_as_it_was_asked_to_be() -> None:
    async def ask() -> tuple[SchedAttr, SchedAttr]:
        stable, loader = Runner(slice_ns=URGENT_SLICE_NS), Runner("loader", niceness=LOADER_NICENESS)
        try:
            return await stable.run(told), await loader.run(told)
        finally:
            stable.close()
            loader.close()

    stable, loader = asyncio.run(ask())
    assert stable.runtime == URGENT_SLICE_NS < loader.runtime
    assert loader.nice == stable.nice + LOADER_NICENESS


@slices
def test_a_workers_loop_is_urgent_once_it_serves(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.push_scaled(1)
    with OperatedWorker("fast", versions, tmp_path) as worker:
        assert worker.process is not None
        assert told(worker.process.pid).runtime == URGENT_SLICE_NS


def test_a_machine_that_knows_no_slices_is_as_nice_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "another")
    found = []

    def ask() -> None:
        schedule_thread(URGENT_SLICE_NS, 2)
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found == [os.getpriority(os.PRIO_PROCESS, 0) + 2]


@slices
def test_a_thread_that_gives_way_is_last_and_has_the_longest_slice() -> None:
    found = []
    thread = threading.Thread(target=lambda: (give_way(), found.append(told())))
    thread.start()
    thread.join()
    assert (found[0].nice, found[0].runtime) == (LAST_NICENESS, PATIENT_SLICE_NS)
    assert told().nice == os.getpriority(os.PRIO_PROCESS, 0) < LAST_NICENESS, "and nobody else is"
