"""Giving bytes back: what nobody else can read goes, what somebody can read stays as it is."""

from __future__ import annotations

import psutil
import pytest

from server.worker.models.giving_back import WORTHWHILE_BYTES, give_back

SIZE = 64 * 2**20


def test_memory_that_nobody_else_reads_goes_at_once() -> None:
    process = psutil.Process()
    owned = [b"\x01" * SIZE]
    before_bytes = process.memory_info().rss
    assert give_back(owned)
    assert owned == []
    assert before_bytes - process.memory_info().rss > SIZE * 0.9


@pytest.mark.parametrize("size", [SIZE, WORTHWHILE_BYTES - 1])
def test_what_somebody_else_reads_stays_as_it_is(size: int) -> None:
    content = b"\x01" * size
    owned = [content]
    assert not give_back(owned)
    assert owned == []
    assert content.count(1) == size


def test_what_lies_around_it_stays_as_it_is() -> None:
    """Blocks of the same size, made one after the other, lie side by side."""
    blocks = [bytes([index]) * (WORTHWHILE_BYTES + index * 7) for index in range(1, 30)]
    for index in range(0, 28, 2):
        owned = [blocks[index]]
        blocks[index] = b""
        assert give_back(owned)
    for index in range(1, 28, 2):
        assert blocks[index].count(index + 1) == len(blocks[index])
