"""The seqlock under a writer in another process, and the order that it asks of the machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from native.plane.layout import HEADER_SEQUENCE, HEADER_STATE, Plane
from native.plane.seqlock import publish, read, word_acquire, word_release

ROOT = Path(__file__).resolve().parents[2]
WRITER = Path(__file__).with_name("seqlock_writer.py")
CONSISTENT_READS = 300_000
CHANGES = 5_000  # with fewer the two processes only took turns on one core, and the run proves nothing
LIMIT_S = 60.0


@njit("void(int64[::1], int64[::1], int64[::1], int64[::1], int64)", nogil=True)
def read_many(counters, header, out, seen, rounds):  # type: ignore[no-untyped-def]
    """seen: consistent reads, torn ones among them, changes of the value from one consistent read to the next."""
    last = np.int64(-1)
    for _ in range(rounds):
        if read(counters, header, out):
            seen[0] += 1
            if out.sum() != 0:
                seen[1] += 1
            if out[0] != last:
                seen[2] += 1
            last = out[0]


@contextmanager
def writer(plane: Plane, kind: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(plane.fd), kind],
        pass_fds=(plane.fd,),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        while plane.block(0).counters[0] == 0:
            assert process.poll() is None, "the writer ended"
            assert time.monotonic() < deadline, "the writer never wrote"
            time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.wait()


def watch(plane: Plane, enough: int) -> tuple[int, int, int]:
    block = plane.block(0)
    out = np.empty_like(block.counters)
    seen = np.zeros(3, dtype=np.int64)
    deadline = time.monotonic() + LIMIT_S
    while (seen[0] < enough or seen[2] < CHANGES) and time.monotonic() < deadline:
        read_many(block.counters, block.header, out, seen, 10_000)
    consistent, torn, changes = (int(count) for count in seen)
    return consistent, torn, changes


def test_a_reader_never_sees_a_torn_vector() -> None:
    plane = Plane.create(1)
    with writer(plane, "seqlock"):
        consistent, torn, changes = watch(plane, CONSISTENT_READS)
    assert consistent >= CONSISTENT_READS
    assert changes >= CHANGES
    assert torn == 0


def test_a_planted_writer_without_the_seqlock_is_caught() -> None:
    plane = Plane.create(1)
    with writer(plane, "planted"):
        _, torn, _ = watch(plane, CONSISTENT_READS)
    assert torn > 0


@pytest.mark.parametrize(
    ("kernel", "orders"),
    [
        (publish, ["store atomic i64", "fence release", " release, align 8"]),
        (read, ["load atomic i64", "fence acquire", " acquire, align 8"]),
        (word_acquire, [" acquire, align 8"]),
        (word_release, [" release, align 8"]),
    ],
    ids=["publish", "read", "word_acquire", "word_release"],
)
def test_the_compiled_kernel_asks_for_its_order(kernel, orders) -> None:  # type: ignore[no-untyped-def]
    """x86 keeps this order unasked, so that no run on it can tell; arm64 does not."""
    fresh = njit(kernel.signatures[0], nogil=True, error_model="numpy")(kernel.py_func)
    (code,) = fresh.inspect_llvm().values()
    for order in orders:
        assert order in code


def test_an_odd_sequence_is_never_read_as_consistent() -> None:
    plane = Plane.create(1)
    block = plane.block(0)
    out = np.empty_like(block.counters)
    block.header[HEADER_SEQUENCE] = 7
    assert not read(block.counters, block.header, out)
    block.header[HEADER_SEQUENCE] = 8
    assert read(block.counters, block.header, out)


def test_publishing_advances_the_sequence_by_two() -> None:
    block = Plane.create(1).block(0)
    private = block.begin(pid=1, generation=1)
    private[3] = 9
    publish(private, block.counters, block.header)
    publish(private, block.counters, block.header)
    assert block.header[HEADER_SEQUENCE] == 4
    assert block.counters[3] == 9


def test_a_word_out_of_range_is_neither_read_nor_written() -> None:
    block = Plane.create(1).block(0)
    for index in (-1, block.header.size):
        word_release(block.header, index, 5)
        assert word_acquire(block.header, index) == 0
    word_release(block.header, HEADER_STATE, 2)
    assert word_acquire(block.header, HEADER_STATE) == 2
    assert block.counters[0] == 0
