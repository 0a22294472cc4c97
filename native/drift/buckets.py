"""Buckets of many rows at once, for whoever has hashes of keys in an array. See `count.bucket_of`."""

from __future__ import annotations

from native.drift.count import bucket_of
from native.wire.kernel import Bytes, Words, kernel


@kernel("void(int64[::1], int64[::1], uint8[::1])")
def buckets_of(keyed: Words, words: Words, buckets: Bytes) -> None:
    """Writes each row's bucket. keyed: 1 where `words` has the hash of its key, else that is no other row's.

    Beyond the shortest of the three nothing is read or written.
    """
    for row in range(min(buckets.size, min(keyed.size, words.size))):
        buckets[row] = bucket_of(keyed[row], words[row])
