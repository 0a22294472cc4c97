"""Seats: which artifacts the workers shall hold, and what each worker says of that.

Used by control (and by the parent, before anything is started) through `SeatTable`, by workers through `SeatTable.read`
and `WorkerSeats`. Always: a seat is given to another artifact only after it was empty at every worker, and then has a
new generation; a record that was cut off while it was written is recognised by its checksum and counts as empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from native.plane.atomics import fence_acquire, fence_release, load_acquire, load_relaxed, store_relaxed, store_release
from native.plane.layout import Plane, Words, WorkerBlock, WorkerState
from native.plane.routes import RouteTables, words_checksum
from native.plane.routing import (
    BANNED,
    FAILURE_BYTES,
    FAILURE_GENERATION,
    FAILURE_SEAT,
    FAILURE_TEXT,
    FAILURE_TEXT_BYTES,
    SEAT_DIGEST,
    SEAT_GENERATION,
    SEAT_MODEL,
    SEAT_STATE_EMPTY,
    SEAT_STATE_FAILED,
    SEAT_VERSION,
    SEAT_VERSION_BYTES,
    SEAT_WANTED,
    SEAT_WORDS,
    SEATS,
    SEATS_MAX,
    SEATS_SEQUENCE,
    STATE_WORDS,
    STATES,
    WANTED_EMPTY,
    WANTED_LOADED,
)
from native.plane.seqlock import word_acquire, word_release

SEAT_CHECKSUM: Final = 3
DIGEST_WORDS: Final = 4
READ_TRIES: Final = 1000
ALIVE: Final = frozenset({WorkerState.STARTING, WorkerState.READY, WorkerState.DRAINING})


@njit("void(int64[::1], int64, int64[::1])", nogil=True, cache=True, error_model="numpy")
def _store_seat(routing: Words, index: int, record: Words) -> None:
    """Replaces a seat's record under the sequence of all seats."""
    if index < 0 or index >= SEATS_MAX or record.size < SEAT_WORDS or routing.size < SEATS + SEATS_MAX * SEAT_WORDS:
        return
    sequence = load_relaxed(routing, SEATS_SEQUENCE)
    sequence += sequence & 1  # odd: a predecessor was killed while it wrote
    store_relaxed(routing, SEATS_SEQUENCE, sequence + 1)
    fence_release()
    for word in range(SEAT_WORDS):
        store_relaxed(routing, SEATS + index * SEAT_WORDS + word, record[word])
    store_release(routing, SEATS_SEQUENCE, sequence + 2)


@njit("int64(int64[::1], int64[::1])", nogil=True, cache=True, error_model="numpy")
def _copy_seats(routing: Words, out: Words) -> int:
    """Copies all records to `out`, int64[SEATS_MAX * SEAT_WORDS]; the sequence, or -1 where one was being written."""
    if out.size < SEATS_MAX * SEAT_WORDS or routing.size < SEATS + SEATS_MAX * SEAT_WORDS:
        return -1
    before = load_acquire(routing, SEATS_SEQUENCE)
    for word in range(SEATS_MAX * SEAT_WORDS):
        out[word] = load_relaxed(routing, SEATS + word)
    fence_acquire()
    if before & 1 or load_relaxed(routing, SEATS_SEQUENCE) != before:
        return -1
    return before


@dataclass(frozen=True)
class Seat:
    """What a seat shall hold. digest: sha256 in hex; version: as the registry counts; model: index into the settings.

    wanted: False where its artifact shall be unloaded, and where it never had one (generation 0).
    """

    index: int
    generation: int
    wanted: bool
    model: int
    digest: str
    version: str


NEVER_FILLED: Final = tuple(Seat(index, 0, False, 0, "", "") for index in range(SEATS_MAX))


class SeatTable:
    """All seats of the plane. `fill` and `vacate` are the writer's, one at a time."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._routing = plane.routing
        self._known: tuple[int, tuple[Seat, ...]] = (-1, ())  # a sequence, and what was read under it

    @property
    def sequence(self) -> int:
        """Moves whenever a seat is changed: one load, for who looks often."""
        return word_acquire(self._routing, SEATS_SEQUENCE)

    def read(self) -> tuple[Seat, ...]:
        """All SEATS_MAX seats. A writer that died half-way through is waited for only so long; its record is empty."""
        if self.sequence == self._known[0]:
            return self._known[1]  # to take 128 records apart costs more than a decision does otherwise
        out: Words = np.zeros(SEATS_MAX * SEAT_WORDS, dtype=np.int64)
        sequence = -1
        for _ in range(READ_TRIES):
            sequence = _copy_seats(self._routing, out)
            if sequence >= 0:
                break
        records = out.reshape(SEATS_MAX, SEAT_WORDS)
        taken = np.flatnonzero(records[:, SEAT_GENERATION])  # few are: the others cost a worker's loop no time
        seats = list(NEVER_FILLED)
        for index in taken.tolist():
            seats[index] = _seat(index, records[index])
        self._known = sequence, tuple(seats)
        return self._known[1]

    def fill(self, index: int, model: int, version: str, digest: str) -> Seat:
        """Gives the seat to an artifact, under a new generation; workers load it. Returns what was written."""
        assert 0 <= index < SEATS_MAX, index
        encoded = version.encode()
        assert 0 < len(encoded) < SEAT_VERSION_BYTES, version
        record: Words = np.zeros(SEAT_WORDS, dtype=np.int64)
        record[SEAT_GENERATION] = self._generation(index) + 1
        record[SEAT_WANTED] = WANTED_LOADED
        record[SEAT_MODEL] = model
        record[SEAT_DIGEST : SEAT_DIGEST + DIGEST_WORDS] = np.frombuffer(bytes.fromhex(digest), dtype=np.int64)
        text = record[SEAT_VERSION : SEAT_VERSION + SEAT_VERSION_BYTES // 8].view(np.uint8)
        text[: len(encoded)] = np.frombuffer(encoded, dtype=np.uint8)
        self._store(index, record)
        return _seat(index, record)

    def vacate(self, index: int) -> None:
        """Workers unload what the seat holds, once no route names it and nothing of it is in flight."""
        record: Words = self._record(index).copy()
        record[SEAT_WANTED] = WANTED_EMPTY
        self._store(index, record)

    def banned(self, seat: Seat) -> bool:
        """True where this very artifact in this seat has ended a worker."""
        return seat.generation > 0 and word_acquire(self._routing, BANNED + seat.index) == seat.generation

    def ban(self, index: int, generation: int) -> None:
        """No worker loads this again. The parent's to say, of an artifact whose run has ended a worker."""
        assert 0 <= index < SEATS_MAX, index
        word_release(self._routing, BANNED + index, generation)

    def free_index(self) -> int | None:
        """A seat for another artifact: not wanted, in no route, empty at every worker. None where all are taken."""
        _, routes = RouteTables(self._plane).current()
        routed = {ref.seat for route in routes for ref in route.seats}
        blocks = [self._plane.block(index) for index in range(self._plane.workers)]
        alive = [WorkerSeats(block) for block in blocks if block.state in ALIVE]
        for seat in self.read():
            if seat.wanted or seat.index in routed:
                continue
            if all(worker.state(seat.index)[0] == SEAT_STATE_EMPTY for worker in alive):
                return seat.index
        return None

    def _record(self, index: int) -> Words:
        return self._routing[SEATS + index * SEAT_WORDS : SEATS + (index + 1) * SEAT_WORDS]

    def _generation(self, index: int) -> int:
        return int(self._record(index)[SEAT_GENERATION])

    def _store(self, index: int, record: Words) -> None:
        record[SEAT_CHECKSUM] = _checksum(record)
        _store_seat(self._routing, index, record)


class WorkerSeats:
    """What one worker says of the seats. Written by that worker, read by control."""

    def __init__(self, block: WorkerBlock) -> None:
        self._words = block.routing

    def set_state(self, seat: int, generation: int, state: int) -> None:
        """state: SEAT_STATE_*."""
        assert 0 <= seat < SEATS_MAX, seat
        at = STATES + seat * STATE_WORDS
        word_release(self._words, at + 1, generation)
        word_release(self._words, at, state)

    def fail(self, seat: int, generation: int, text: str) -> None:
        """The artifact could not be loaded; the text says why, in one line, and is cut where it is too long."""
        encoded = text.encode()[:FAILURE_TEXT_BYTES]
        room = self._words[FAILURE_TEXT : FAILURE_TEXT + FAILURE_TEXT_BYTES // 8].view(np.uint8)
        self._words[FAILURE_GENERATION] = 0
        room[: len(encoded)] = np.frombuffer(encoded, dtype=np.uint8)
        self._words[FAILURE_BYTES] = len(encoded)
        self._words[FAILURE_SEAT] = seat
        word_release(self._words, FAILURE_GENERATION, generation)
        self.set_state(seat, generation, SEAT_STATE_FAILED)

    def state(self, seat: int) -> tuple[int, int]:
        """(SEAT_STATE_*, the generation that it speaks of)."""
        at = STATES + seat * STATE_WORDS
        state = word_acquire(self._words, at)
        return state, int(self._words[at + 1])

    def failure(self) -> tuple[int, int, str]:
        """(seat, generation, text) of the last load that failed; generation 0 where there was none."""
        generation = word_acquire(self._words, FAILURE_GENERATION)
        size = max(0, min(int(self._words[FAILURE_BYTES]), FAILURE_TEXT_BYTES))
        text = self._words[FAILURE_TEXT : FAILURE_TEXT + FAILURE_TEXT_BYTES // 8].tobytes()[:size]
        return int(self._words[FAILURE_SEAT]), generation, text.decode(errors="replace")


def _checksum(record: Words) -> int:
    content = record.copy()
    content[SEAT_CHECKSUM] = 0
    return int(words_checksum(content, 0, SEAT_WORDS))


def _seat(index: int, record: Words) -> Seat:
    generation = int(record[SEAT_GENERATION])
    if int(record[SEAT_CHECKSUM]) != _checksum(record):
        return Seat(index, generation, False, 0, "", "")
    digest = record[SEAT_DIGEST : SEAT_DIGEST + DIGEST_WORDS].tobytes().hex()
    version = record[SEAT_VERSION : SEAT_VERSION + SEAT_VERSION_BYTES // 8].tobytes().split(b"\0")[0].decode()
    return Seat(index, generation, bool(record[SEAT_WANTED] == WANTED_LOADED), int(record[SEAT_MODEL]), digest, version)
