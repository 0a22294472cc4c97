"""The plane's memory: one writer a cache line, refused by other builds, and counts that outlive a worker."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from native.plane.counters import BYTES_RECEIVED, CONNECTIONS, ROWS
from native.plane.layout import (
    CACHE_LINE_BYTES,
    HEADER_CONNECTIONS,
    HEADER_SEQUENCE,
    PLANE_DIGEST,
    PLANE_MAGIC,
    PLANE_VERSION,
    PLANE_WORKERS,
    WORKERS_MAX,
    Plane,
    PlaneMismatch,
    WorkerState,
    plane_bytes,
)
from native.plane.seqlock import publish


@pytest.fixture
def plane() -> Plane:
    return Plane.create(2)


def test_what_one_process_writes_the_other_reads(plane: Plane) -> None:
    other = Plane.attach(plane.fd)
    other.block(1).enter(WorkerState.READY)
    assert plane.block(1).state is WorkerState.READY
    assert plane.block(0).state is WorkerState.ABSENT
    assert other.workers == 2


def test_blocks_share_no_cache_line(plane: Plane) -> None:
    lines: set[int] = set()
    for index in range(WORKERS_MAX):
        block = plane.block(index)
        own: set[int] = set()
        for words in (block.header, block.counters):
            start = words.ctypes.data
            own |= set(range(start // CACHE_LINE_BYTES, (start + words.nbytes - 1) // CACHE_LINE_BYTES + 1))
        assert not own & lines
        lines |= own
    assert plane.words.ctypes.data // CACHE_LINE_BYTES not in lines


@pytest.mark.parametrize("word", [PLANE_MAGIC, PLANE_VERSION, PLANE_DIGEST])
def test_a_plane_of_another_build_is_refused(plane: Plane, word: int) -> None:
    plane.words[word] += 1
    with pytest.raises(PlaneMismatch, match=r"expected 0x.*, got 0x.*\. Stop the server"):
        Plane.attach(plane.fd)


def test_a_descriptor_of_another_size_is_refused() -> None:
    fd = os.memfd_create("short")
    os.ftruncate(fd, plane_bytes(1) - 8)
    with pytest.raises(PlaneMismatch, match="size: expected"):
        Plane.attach(fd)
    os.close(fd)


@pytest.mark.parametrize("size", [0, plane_bytes(1) * 2])
def test_nobody_can_change_the_size(plane: Plane, size: int) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(plane.fd, size)


def test_a_core_dump_leaves_the_plane_out(plane: Plane) -> None:
    """Written into a dump, its holes would become memory, for as long as it exists."""
    address = plane.words.ctypes.data
    maps = Path("/proc/self/smaps").read_text().split("VmFlags:")
    flags = next(
        after.split("\n")[0]
        for before, after in pairwise(maps)
        if any(int(line.split("-")[0], 16) == address for line in before.splitlines() if "roost-plane" in line)
    )
    assert "dd" in flags.split()


def test_a_plane_for_another_number_of_workers_is_refused(plane: Plane) -> None:
    plane.words[PLANE_WORKERS] = 1
    with pytest.raises(PlaneMismatch, match=r"size: expected \d+ bytes for 1 workers, got"):
        Plane.attach(plane.fd)


def test_the_descriptor_is_not_inherited_unasked(plane: Plane) -> None:
    assert not os.get_inheritable(plane.fd)


def test_counts_go_on_after_a_worker_died_and_gauges_start_anew(plane: Plane) -> None:
    block = plane.block(0)
    first = block.begin(pid=10, generation=1)
    first[ROWS], first[BYTES_RECEIVED], first[CONNECTIONS] = 7, 70, 3
    block.header[HEADER_CONNECTIONS] = 3
    publish(first, block.counters, block.header)

    second = block.begin(pid=11, generation=2)

    assert (second[ROWS], second[BYTES_RECEIVED], second[CONNECTIONS]) == (7, 70, 0)
    assert block.header[HEADER_CONNECTIONS] == 0


def test_a_worker_that_was_killed_while_it_published_leaves_no_odd_sequence(plane: Plane) -> None:
    block = plane.block(0)
    block.header[HEADER_SEQUENCE] = 5
    block.begin(pid=10, generation=2)
    assert block.header[HEADER_SEQUENCE] == 6


def test_a_new_plane_is_all_zero_but_for_its_own_words(plane: Plane) -> None:
    for index in range(WORKERS_MAX):
        assert not np.any(plane.block(index).header)
        assert not np.any(plane.block(index).counters)
