"""Strain: whether a worker's threads get the processor time that they want, or lateness is the machine's fault.

Used by the engine, a few times a second, and by the watchdog. A canary runs in a thread that waits for a core behind
its stable's loop: on a machine that is overloaded it would be late more often than an equal, and go home for it. Linux
tells how long each thread ran and how long it waited for a core; elsewhere lateness always counts.
Always: a version that is slow by itself is not excused where there is a core for it. Its thread runs for long; it does
not wait for long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy.typing as npt

from native.lane.layout import LANE_STRAIN, STRAIN_BUSY, STRAIN_LATE, STRAIN_NONE
from native.plane.counters import LATE_EXCUSED

WINDOW_NS: Final = 100_000_000
BUSY_SHARE: Final = 0.9  # of a window, in which the loop's thread ran or wanted to
STARVED_SHARE: Final = 0.7  # of what another thread wanted, which it waited for
STARVED_OF_WINDOW: Final = 0.3  # and at least so much of the window


@dataclass(frozen=True, slots=True)
class ThreadTime:
    """Nanoseconds since the thread began: on a core, and ready to run without one."""

    ran_ns: int
    waited_ns: int

    def __add__(self, other: ThreadTime) -> ThreadTime:
        return ThreadTime(self.ran_ns + other.ran_ns, self.waited_ns + other.waited_ns)


NO_TIME: Final = ThreadTime(0, 0)


class ThreadClock:
    """One thread's. native_id: as the system numbers it."""

    def __init__(self, native_id: int) -> None:
        try:
            self._file: int | None = os.open(f"/proc/self/task/{native_id}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = None

    def read(self) -> ThreadTime | None:
        """None where the system does not tell, or the thread has ended."""
        if self._file is None:
            return None
        try:
            ran, waited, _ = os.pread(self._file, 100, 0).split()
        except (OSError, ValueError):
            return None
        return ThreadTime(int(ran), int(waited))

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class LoopClock(ThreadClock):
    """A loop's own. stood_still_ns: for how long it has stood still in all, for a run of its turn (`brief_waits`)."""

    def __init__(self, native_id: int, stood_still_ns: Callable[[], int]) -> None:
        super().__init__(native_id)
        self._stood_still_ns = stood_still_ns

    def read(self) -> ThreadTime | None:
        """As if it had run meanwhile: it had no rest."""
        time = super().read()
        return None if time is None else ThreadTime(time.ran_ns + self._stood_still_ns(), time.waited_ns)


@dataclass(frozen=True, slots=True)
class Sample:
    """What threads had and wanted by `now_ns`. loop: the worker's own; others: those that run models."""

    now_ns: int
    loop: ThreadTime
    others: tuple[ThreadTime | None, ...]


def is_strained(before: Sample, now: Sample) -> bool:
    """Whether the loop had no rest between the two, or another thread waited for most of what it wanted."""
    window_ns = now.now_ns - before.now_ns
    wanted_ns = now.loop.ran_ns - before.loop.ran_ns + now.loop.waited_ns - before.loop.waited_ns
    if wanted_ns >= BUSY_SHARE * window_ns:
        return True
    for earlier, later in zip(before.others, now.others, strict=True):
        if earlier is None or later is None:
            continue
        waited_ns = later.waited_ns - earlier.waited_ns
        ran_ns = later.ran_ns - earlier.ran_ns
        if waited_ns >= STARVED_OF_WINDOW * window_ns and waited_ns >= STARVED_SHARE * (ran_ns + waited_ns):
            return True
    return False


class Strain:
    """Keeps the lane's word for it. `look` is called on the loop's thread.

    clock: that thread's. words: the lane's. counts: the worker's counters. others: read the threads that run models. A
    window that was strained is remembered for `age_limit_ns`: answers that are late for it come after it.
    """

    def __init__(
        self,
        words: npt.NDArray,  # type: ignore[type-arg]
        counts: npt.NDArray,  # type: ignore[type-arg]
        others: tuple[Callable[[], ThreadTime | None], ...],
        age_limit_ns: int,
        clock: ThreadClock,
    ) -> None:
        self._words = words
        self._counts = counts
        self._clock = clock
        self._others = others
        self._age_limit_ns = age_limit_ns
        self._before = self._sample(time.monotonic_ns())
        self._strained_until_ns = self._late_until_ns = 0
        self._excused = int(counts[LATE_EXCUSED])

    def look(self) -> None:
        """Once a window; sooner, it does nothing."""
        before, now_ns = self._before, time.monotonic_ns()
        if before is None or now_ns - before.now_ns < WINDOW_NS:
            return
        now = self._before = self._sample(now_ns)
        if now is not None and is_strained(before, now):
            self._strained_until_ns = now_ns + self._age_limit_ns
        excused = int(self._counts[LATE_EXCUSED])
        if excused != self._excused:
            self._excused = excused
            self._late_until_ns = now_ns + self._age_limit_ns
        if now_ns >= self._strained_until_ns:
            self._words[LANE_STRAIN] = STRAIN_NONE
        else:
            self._words[LANE_STRAIN] = STRAIN_LATE if now_ns < self._late_until_ns else STRAIN_BUSY

    def close(self) -> None:
        self._clock.close()

    def _sample(self, now_ns: int) -> Sample | None:
        own = self._clock.read()
        return None if own is None else Sample(now_ns, own, tuple(read() for read in self._others))
