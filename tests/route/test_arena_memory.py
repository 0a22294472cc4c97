"""The memory of a model's arenas: where it lies, when the system has it again, and what happens where it has none."""

from __future__ import annotations

import errno
import weakref
from itertools import pairwise

import numpy as np
import pytest

from native.batch import memory as batch_memory
from native.batch.layout import ARENA_FREE, NO_ARENA
from native.batch.memory import BLOCK_ALIGNMENT_BYTES, BatchMemory, QueueBounds, address_of
from native.plane.counters import COUNTERS_LENGTH
from native.wire.directory import ModelDirectory
from tests.route.worker_of_two import wire_model

FIRST, SECOND = 0, 1
BOUNDS = QueueBounds(5, 64)


@pytest.fixture
def memory() -> BatchMemory:
    return BatchMemory(ModelDirectory([wire_model("1")]), [BOUNDS], np.zeros(COUNTERS_LENGTH, np.int64), slots_max=4)


def arenas_of(memory: BatchMemory, seat: int) -> list[int]:
    """As its queue lists them."""
    found, arena = [], int(memory.queues[seat]["free"])
    while arena != NO_ARENA:
        found.append(arena)
        arena = int(memory.arenas[arena]["next_free"])
    return found


def regions(memory: BatchMemory) -> list[tuple[int, int]]:
    """(address, bytes) of every block that kernels know of."""
    return [
        (int(arena[f"{what}_address"]), int(arena[f"{what}_bytes"]))
        for arena in memory.arenas
        for what in ("input", "output")
        if arena[f"{what}_address"]
    ]


def test_blocks_are_aligned_and_apart_and_are_what_columns_view(memory: BatchMemory) -> None:
    memory.set_model(SECOND, wire_model("2", max_rows=31), BOUNDS)
    found = sorted(regions(memory))
    assert len(found) == 2 * 2 * BOUNDS.arenas
    assert all(address % BLOCK_ALIGNMENT_BYTES == 0 for address, _ in found)
    assert all(one + size <= other for (one, size), (other, _) in pairwise(found))
    for seat in (FIRST, SECOND):
        arenas = arenas_of(memory, seat)
        assert len(set(arenas)) == BOUNDS.arenas
        for index in arenas:
            arena = memory.arenas[index]
            assert (arena["state"], arena["model"], arena["runs_as"]) == (ARENA_FREE, seat, seat)
            for what, columns in zip(("input", "output"), memory.arena_columns(index), strict=True):
                address, size = int(arena[f"{what}_address"]), int(arena[f"{what}_bytes"])
                assert address_of(columns[0]) == address
                columns[-1][:] = 1  # it can be written
                assert address_of(columns[-1]) + columns[-1].nbytes <= address + size


def test_a_models_memory_goes_with_what_remove_model_returns(memory: BatchMemory) -> None:
    memory.set_model(SECOND, wire_model("2"), BOUNDS)
    memory.arena_columns(arenas_of(memory, SECOND)[0])
    blocks = memory.remove_model(SECOND)
    assert len(blocks) == 2 * BOUNDS.arenas
    mappings = [weakref.ref(block.base) for block in blocks]
    assert all(mapping() is not None for mapping in mappings)
    blocks.clear()
    assert all(mapping() is None for mapping in mappings)
    assert len(regions(memory)) == 2 * BOUNDS.arenas, "no kernel has its addresses"


def test_arenas_are_used_again_also_by_a_wider_model(memory: BatchMemory) -> None:
    memory.set_model(SECOND, wire_model("2", max_rows=16), BOUNDS)
    before = set(arenas_of(memory, SECOND))
    memory.remove_model(SECOND)
    memory.set_model(SECOND, wire_model("3", max_rows=9), BOUNDS)
    assert set(arenas_of(memory, SECOND)) == before
    memory.remove_model(SECOND)
    memory.set_model(SECOND, wire_model("4", max_rows=64), BOUNDS)
    assert not before & set(arenas_of(memory, SECOND)), "their lists of requests are too short"
    memory.remove_model(SECOND)
    memory.set_model(SECOND, wire_model("5", max_rows=8), QueueBounds(2 * BOUNDS.arenas, 128))
    assert len(arenas_of(memory, SECOND)) == 2 * BOUNDS.arenas == memory.arenas.size - BOUNDS.arenas


def test_where_there_is_no_memory_nothing_has_changed_and_the_next_one_comes(
    memory: BatchMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    before = memory.directory.places, memory.arenas.tobytes()
    with monkeypatch.context() as patched:
        patched.setattr(batch_memory.mmap, "mmap", none_left)
        with pytest.raises(ValueError, match=r"no [\d,]+ bytes for its batches.*batching\.queue_bytes_max"):
            memory.set_model(SECOND, wire_model("2"), BOUNDS)
    assert (memory.directory.places, memory.arenas.tobytes()) == before
    memory.set_model(SECOND, wire_model("2"), BOUNDS)
    assert len(arenas_of(memory, SECOND)) == BOUNDS.arenas
