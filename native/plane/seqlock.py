"""Seqlock: a worker publishes its counters, control reads them whole, and nobody waits.

The writer counts in a private vector and commits it once per batch with `publish`; a reader copies with `read` and
throws the copy away where that says False. Always: one writer a block, the sequence is odd while it writes.
Order on machines that order little is Boehm's ("Can seqlocks get along with programming language memory models?",
MSPC 2012): a release fence after the odd sequence, an acquire fence before the second look, relaxed words between.
"""

from __future__ import annotations

from numba import njit

from native.plane.atomics import (
    fence_acquire,
    fence_release,
    load_acquire,
    load_relaxed,
    store_relaxed,
    store_release,
)
from native.plane.layout import HEADER_SEQUENCE, Words


@njit("void(int64[::1], int64[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def publish(private: Words, block_counters: Words, header: Words) -> None:
    """Commits the private vector to the block. Never raises or allocates.

    private: int64[COUNTERS_LENGTH], the writer's own. block_counters: the same length, shared.
    header: int64[HEADER_WORDS] of the same block; its sequence is even on entry and on return, and 2 higher.
    Oracle: a vector with an invariant sum is never seen torn (tests/plane/test_seqlock.py).
    """
    sequence = load_relaxed(header, HEADER_SEQUENCE)
    store_relaxed(header, HEADER_SEQUENCE, sequence + 1)
    fence_release()
    for index in range(min(private.size, block_counters.size)):
        store_relaxed(block_counters, index, private[index])
    store_release(header, HEADER_SEQUENCE, sequence + 2)


@njit("boolean(int64[::1], int64[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def read(block_counters: Words, header: Words, out: Words) -> bool:
    """Copies the block to `out`; False where the writer was at work, and `out` is then torn. Never raises or waits.

    block_counters: int64[COUNTERS_LENGTH], shared. header: int64[HEADER_WORDS] of the same block.
    out: int64[COUNTERS_LENGTH], the reader's own.
    """
    before = load_acquire(header, HEADER_SEQUENCE)
    for index in range(min(out.size, block_counters.size)):
        out[index] = load_relaxed(block_counters, index)
    fence_acquire()
    return before & 1 == 0 and load_relaxed(header, HEADER_SEQUENCE) == before


@njit("int64(int64[::1], int64)", nogil=True, cache=True, error_model="numpy")
def word_acquire(words: Words, index: int) -> int:
    """One word of a header, and with it everything its writer stored before `word_release`. 0 where out of range."""
    if index < 0 or index >= words.size:
        return 0
    return load_acquire(words, index)


@njit("void(int64[::1], int64, int64)", nogil=True, cache=True, error_model="numpy")
def word_release(words: Words, index: int, value: int) -> None:
    """Stores one word of a header after everything stored so far. Does nothing where out of range."""
    if 0 <= index < words.size:
        store_release(words, index, value)
