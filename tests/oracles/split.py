"""The split of traffic in plain Python, from docs/reference/protocol.md alone."""

from __future__ import annotations

MASK = (1 << 64) - 1


def fnv1a(text: bytes) -> int:
    hashed = 0xCBF29CE484222325
    for byte in text:
        hashed = ((hashed ^ byte) * 0x100000001B3) & MASK
    return hashed


def splitmix(word: int) -> int:
    word &= MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)


def position(key: bytes, salt: int) -> int:
    """A key's place, 0 to 999,999."""
    return (splitmix(fnv1a(key) ^ (salt & MASK)) >> 32) * 1_000_000 >> 32
