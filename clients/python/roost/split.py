"""Which variant answers a routing key: the rule that servers follow, so that callers can compute it too.

For joining predictions with experiments, or finding out who meets a canary before it starts. Pure; the rule is the one
that Roost's documentation of the protocol gives, and does not change while a rollout lasts.
"""

from __future__ import annotations

POSITIONS = 1_000_000
_WORD = (1 << 64) - 1


def key_position(key: str | bytes, salt: int) -> int:
    """Where `key` stands, 0 to 999,999. The canary answers it where that is below its weight in millionths.

    key: the routing key; text is taken as UTF-8. salt: the rollout's, signed or not, as `roost status MODEL --json` has
    it. Raises ValueError for a salt that is no 64-bit word.
    """
    if not -(1 << 63) <= salt <= _WORD:
        raise ValueError(f"salt: expected a 64-bit word, got {salt}. `roost status MODEL --json` has the rollout's.")
    hashed = 0xCBF29CE484222325  # FNV-1a
    for byte in key.encode() if isinstance(key, str) else key:
        hashed = ((hashed ^ byte) * 0x100000001B3) & _WORD
    word = hashed ^ (salt & _WORD)
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD  # SplitMix64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    word ^= word >> 31
    return ((word >> 32) * POSITIONS) >> 32
