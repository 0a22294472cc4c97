"""What waits for one receiver, and when what is tried next: a bounded queue with backoff. Pure.

Times come in as monotonic seconds. Always: at most `queue_max` wait, and BYTES_MAX of bodies, and who makes room is
the oldest of the least important, never the one that is being sent; what was tried `attempts_max` times or is older
than `age_max_s` is dropped; every failure makes its delivery wait by itself, so that one which is refused holds up no
other, and the receiver rest for longer and longer, until it takes one again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from server.control.webhooks.delivery import IMPORTANCE, Delivery

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 1800.0
NEWS_WAIT_S: Final = 30.0  # a new event is worth another try, but a stream of them is no reason for a stream of tries
ASKED_WAIT_S_MAX: Final = 3600.0  # of Retry-After: a receiver may slow us down, not switch us off
RESTORED_S_MIN: Final = 60.0
BYTES_MAX: Final = 16 << 20  # of bodies: all of them are in memory, and written to disk at each change
_DOUBLINGS_MAX: Final = 20
assert FIRST_WAIT_S * (1 << _DOUBLINGS_MAX) >= LONGEST_WAIT_S


class Drop(Enum):
    """Why a delivery is given up."""

    QUEUE_FULL = "queue_full"
    ATTEMPTS = "attempts"
    AGE = "age"
    GONE = "gone"


@dataclass
class _Place:
    delivery: Delivery
    born_s: float
    due_s: float


class Waiting:
    """One receiver's."""

    def __init__(self, queue_max: int, attempts_max: int, age_max_s: float, random_: random.Random) -> None:
        self._queue_max = queue_max
        self._attempts_max = attempts_max
        self._age_max_s = age_max_s
        self._random = random_
        self._places: dict[str, _Place] = {}  # by id, oldest first
        self._bytes = 0
        self._sending = ""
        self._failures = 0
        self._rest_until_s = 0.0
        self._asked_until_s = 0.0

    def __len__(self) -> int:
        return len(self._places)

    @property
    def failures(self) -> int:
        """Failed attempts since the last one that succeeded."""
        return self._failures

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """All that wait, the one that is being sent included; oldest first."""
        return tuple(place.delivery for place in self._places.values())

    def put(self, delivery: Delivery, now_s: float) -> tuple[Delivery, ...]:
        """Puts it last. Returns those that had to make room, which may include the new one itself."""
        self._add(_Place(delivery, now_s, now_s))
        self._rest_until_s = min(self._rest_until_s, now_s + NEWS_WAIT_S)
        return self._make_room()

    def restore(self, delivery: Delivery, now_s: float, age_s: float) -> tuple[Delivery, ...]:
        """As `put`, of one that has waited before a restart.

        age_s: by the wall's clock, which may have jumped. So it gets RESTORED_S_MIN at least, whatever its age.
        """
        age_s = min(max(age_s, 0.0), self._age_max_s - RESTORED_S_MIN)
        self._add(_Place(delivery, now_s - age_s, now_s))
        return self._make_room()

    def next(self, now_s: float) -> tuple[Delivery, float] | None:
        """What is to be sent, and after how many seconds. At 0 it counts as being sent from here on."""
        if not self._places:
            return None
        due = [place for place in self._places.values() if place.due_s <= now_s]
        place = due[0] if due else min(self._places.values(), key=lambda one: one.due_s)
        wait_s = max(place.due_s, self._rest_until_s, self._asked_until_s) - now_s
        if wait_s > 0:
            return place.delivery, wait_s
        self._sending = place.delivery.id
        return place.delivery, 0.0

    def taken(self, id_: str) -> None:
        """The receiver has it."""
        self._sending = ""
        self._failures = 0
        self._rest_until_s = 0.0
        if id_ in self._places:
            self._remove(id_)

    def failed(self, id_: str, now_s: float, asked_wait_s: float | None = None) -> Drop | None:
        """An attempt came to nothing. Returns why the delivery is given up, if it is.

        asked_wait_s: how long the receiver wants to be left alone; None where it did not say.
        """
        self._sending = ""
        self._failures += 1
        self._rest_until_s = now_s + self._wait_s(self._failures)
        if asked_wait_s is not None:
            self._asked_until_s = now_s + min(asked_wait_s, ASKED_WAIT_S_MAX)
        place = self._places[id_]
        place.delivery = replace(place.delivery, attempts=place.delivery.attempts + 1)
        place.due_s = now_s + self._wait_s(place.delivery.attempts)
        if place.delivery.attempts < self._attempts_max:
            return None
        self._remove(id_)
        return Drop.ATTEMPTS

    def expired(self, now_s: float) -> Iterator[Delivery]:
        """Takes out what is too old."""
        for place in tuple(self._places.values()):
            if now_s - place.born_s >= self._age_max_s and place.delivery.id != self._sending:
                self._remove(place.delivery.id)
                yield place.delivery

    def clear(self) -> int:
        """Takes everything out, and says how many they were."""
        count = len(self._places)
        self._places.clear()
        self._bytes = 0
        self._sending = ""
        return count

    def _add(self, place: _Place) -> None:
        self._places[place.delivery.id] = place
        self._bytes += len(place.delivery.body)  # which is ASCII

    def _remove(self, id_: str) -> None:
        self._bytes -= len(self._places.pop(id_).delivery.body)

    def _make_room(self) -> tuple[Delivery, ...]:
        victims: list[Delivery] = []
        while len(self._places) > self._queue_max or self._bytes > BYTES_MAX:
            others = (place.delivery for place in self._places.values() if place.delivery.id != self._sending)
            victims.append(min(others, key=lambda one: IMPORTANCE[one.kind]))  # the first of equals: the oldest
            self._remove(victims[-1].id)
        return tuple(victims)

    def _wait_s(self, failures: int) -> float:
        longest_s = min(FIRST_WAIT_S * float(1 << min(failures - 1, _DOUBLINGS_MAX)), LONGEST_WAIT_S)
        return longest_s * self._random.uniform(0.5, 1.0)
