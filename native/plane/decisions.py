"""Decisions: why each route table is what it is, kept in the plane until journal and registry have it.

Written by control before it stores the epoch, read by the control process that comes after a crash. Always: an entry's
number is stored last, so that a half-written one is no entry; the newest DECISIONS_COUNT are kept.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

from native.plane.layout import Plane, Words
from native.plane.routing import (
    DECISION_BYTES,
    DECISION_CHECKSUM,
    DECISION_SEQUENCE,
    DECISION_TEXT,
    DECISION_TEXT_BYTES,
    DECISION_WORDS,
    DECISIONS,
    DECISIONS_COUNT,
)
from native.plane.seqlock import word_acquire, word_release

TEXT_BYTES_MAX: Final = DECISION_TEXT_BYTES


class DecisionRing:
    """The plane's ring of decisions. One writer: control."""

    def __init__(self, plane: Plane) -> None:
        self._words: Words = plane.routing[DECISIONS : DECISIONS + DECISIONS_COUNT * DECISION_WORDS]
        self._last: int | None = None  # the number that was given last, once one was

    def append(self, text: str) -> int:
        """Keeps a text of at most TEXT_BYTES_MAX bytes; its number, from 1. The oldest makes room."""
        encoded = text.encode()
        assert 0 < len(encoded) <= TEXT_BYTES_MAX, len(encoded)
        if self._last is None:
            self._last = max((kept for kept, _ in self.read()), default=0)
        number = self._last = self._last + 1
        at = (number % DECISIONS_COUNT) * DECISION_WORDS
        word_release(self._words, at + DECISION_SEQUENCE, 0)
        self._room(at)[: len(encoded)] = np.frombuffer(encoded, dtype=np.uint8)
        self._words[at + DECISION_BYTES] = len(encoded)
        self._words[at + DECISION_CHECKSUM] = zlib.crc32(encoded)
        word_release(self._words, at + DECISION_SEQUENCE, number)
        return number

    def read(self) -> tuple[tuple[int, str], ...]:
        """(number, text) of all that are kept, oldest first. One that is damaged is left out."""
        found = []
        for at in range(0, DECISIONS_COUNT * DECISION_WORDS, DECISION_WORDS):
            number = word_acquire(self._words, at + DECISION_SEQUENCE)
            size = int(self._words[at + DECISION_BYTES])
            if number <= 0 or not 0 < size <= DECISION_TEXT_BYTES:
                continue
            encoded = self._room(at)[:size].tobytes()
            if zlib.crc32(encoded) == int(self._words[at + DECISION_CHECKSUM]):
                found.append((number, encoded.decode()))
        return tuple(sorted(found))

    def _room(self, at: int) -> npt.NDArray[np.uint8]:
        return self._words[at + DECISION_TEXT : at + DECISION_WORDS].view(np.uint8)
