"""The split of traffic: which requests are the canary's.

Keyed: the key's place on a ring of PPM points, turned by the rollout's salt; the canary has the first `canary_ppm` of
them, so that raising the weight moves keys to it and none away. Keyless: permuted blocks, exact at each block's end and
unpredictable inside. Pure functions of words; docs/reference/protocol.md publishes the keyed one for others to compute.
Sources: FNV-1a (Fowler, Noll & Vo); SplitMix64 (Steele, Lea & Flood, OOPSLA 2014); selection sampling (Knuth, TAOCP 2,
3.4.2, algorithm S). Oracle: tests/oracles/split.py.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from native.inner import inner
from native.plane.routing import PPM
from native.wire.kernel import Bytes, int64, kernel

FNV_OFFSET: Final = 0xCBF29CE484222325 - (1 << 64)
FNV_PRIME: Final = 0x100000001B3
GAMMA: Final = 0x9E3779B97F4A7C15 - (1 << 64)
BLOCK_LENGTH_MIN: Final = 100  # in a block of 2 the second would be foreseen
BLOCK_LENGTH_MAX: Final = 10_000


@kernel("int64(uint8[::1], int64, int64)")
def key_hash(text: Bytes, start: int, count: int) -> int:
    """FNV-1a of text[start:start + count], as int64. The caller has checked the range."""
    hashed = int64(FNV_OFFSET)
    for index in range(start, start + count):
        hashed = (hashed ^ int64(text[index])) * int64(FNV_PRIME)
    return hashed


@kernel("int64(int64)")
def mixed(word: int) -> int:
    """SplitMix64's finaliser: every bit of the word moves about half of the result's. Shifts are of unsigned words."""
    state = np.uint64(word)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int64(state ^ (state >> np.uint64(31)))


@kernel("int64(int64, int64)")
def key_position(hashed: int, salt: int) -> int:
    """Where a key stands, 0 to PPM - 1: the canary's where that is below its weight."""
    # The upper 32 bits, as a non-negative number.
    high = (mixed(hashed ^ salt) >> 32) & 0xFFFFFFFF
    return (high * PPM) >> 32


@inner("int64(int64)")
def block_length(canary_ppm: int) -> int:
    """The shortest block of at least BLOCK_LENGTH_MIN requests that can hold the share exactly, or 0: none is short."""
    left = int64(PPM)
    right = canary_ppm
    while right != 0:
        rest = left % right
        left = right
        right = rest
    shortest = PPM // left
    length = -(-BLOCK_LENGTH_MIN // shortest) * shortest
    return length if length <= BLOCK_LENGTH_MAX else 0


@kernel("int64(int64, int64, int64)")
def drawn(state: int, part: int, whole: int) -> int:
    """1 with probability part / whole, by the generator's state: 0 <= part <= whole, whole > 0."""
    return 1 if (mixed(state) & 0x7FFFFFFFFFFFFFFF) % whole < part else 0
