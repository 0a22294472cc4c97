"""Incidents: each is told once, with the seat that it is about."""

import os
from pathlib import Path

import pytest

from native.plane.layout import (
    HEADER_CRASH_GENERATION,
    HEADER_CRASH_SEAT,
    HEADER_CRASHES,
    HEADER_LAST_EXIT,
    HEADER_PID,
    Plane,
    WorkerState,
)
from native.plane.routing import HUNG_COUNT, HUNG_GENERATION, HUNG_SEAT
from server.control.incidents import LOOKS_OVER_MEMORY, PAGE_BYTES, Incident, IncidentKind, IncidentWatch

MIB = 1 << 20


@pytest.fixture
def plane() -> Plane:
    plane = Plane.create(2)
    plane.block(1).enter(WorkerState.READY)
    plane.block(1).header[HEADER_PID] = os.getpid()
    return plane


def looked(watch: IncidentWatch) -> list[Incident]:
    return list(watch.look())


def test_a_crash_is_told_once_with_its_culprit_and_signal(plane: Plane) -> None:
    header = plane.block(1).header
    header[HEADER_CRASHES] = 3  # from before
    watch = IncidentWatch(plane, 1 << 40)
    assert looked(watch) == []
    header[HEADER_CRASHES], header[HEADER_LAST_EXIT] = 4, -11
    header[HEADER_CRASH_SEAT], header[HEADER_CRASH_GENERATION] = 6, 2
    (incident,) = looked(watch)
    assert (incident.kind, incident.worker, incident.seat, incident.generation) == (IncidentKind.CRASHED, 1, 5, 2)
    assert "signal 11" in incident.detail
    assert looked(watch) == []


def test_a_hung_run_is_told_once_and_the_count_outlives_its_worker(plane: Plane) -> None:
    words = plane.block(0).routing
    watch = IncidentWatch(plane, 1 << 40)
    words[HUNG_SEAT], words[HUNG_GENERATION], words[HUNG_COUNT] = 3, 7, 1
    (incident,) = looked(watch)
    assert (incident.kind, incident.worker, incident.seat, incident.generation) == (IncidentKind.HUNG, 0, 3, 7)
    plane.block(0).begin(1, 2)
    assert looked(watch) == []


def test_memory_is_told_when_it_stays_over_the_limit_and_again_only_after_it_was_below(
    plane: Plane, tmp_path: Path
) -> None:
    statm = tmp_path / str(os.getpid()) / "statm"
    statm.parent.mkdir()
    statm.write_text(f"99999 {101 * MIB // PAGE_BYTES} 0 0\n")
    watch = IncidentWatch(plane, 100 * MIB, tmp_path)
    assert [len(looked(watch)) for _ in range(2 * LOOKS_OVER_MEMORY)] == [0, 1, 0, 0]
    assert watch.largest_bytes() == 101 * MIB
    statm.write_text(f"99999 {99 * MIB // PAGE_BYTES} 0 0\n")
    assert looked(watch) == []
    statm.write_text(f"99999 {101 * MIB // PAGE_BYTES} 0 0\n")
    assert [len(looked(watch)) for _ in range(2)] == [0, 1]


def test_memory_of_a_process_is_what_the_kernel_says(plane: Plane) -> None:
    watch = IncidentWatch(plane, 1)
    assert watch.largest_bytes() > 10 * MIB
    looked(watch)
    (incident,) = looked(watch)
    assert incident.kind is IncidentKind.MEMORY
    assert "trial.worker_memory_bytes_max" in incident.detail
