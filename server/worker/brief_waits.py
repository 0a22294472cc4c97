"""Brief waits: for how long a worker's loop stands still for a canary's batch that runs in its thread.

Used by the batch loop where it is busy, after a batch of the stable's. A canary's that is over within a fraction of a
millisecond is answered in the same writes; to hear of its end later costs its callers turns of the loop, and the worker
twice the writes. Always: whoever is not over in time runs on in its thread, and is not waited for again for a while,
twice as long each time, and a sixteenth less after each that is. So a canary that hangs holds its stable up once, for
less than a millisecond, one that is late every other time is waited for ever less often, and one in twenty is forgiven.
"""

from __future__ import annotations

from typing import Final

NS_PER_US: Final = 1000
# What a batch may be expected to compute, to be waited for: this at most; and no more than its stable's by this factor,
# unless it is little.
SHORT_NS: Final = 300 * NS_PER_US
STABLE_MULTIPLE: Final = 3
LITTLE_NS: Final = 50 * NS_PER_US
# How long it is waited for: so many times that, and what it takes to change threads twice on a core that is taken.
MULTIPLE: Final = 2
CHANGES_NS: Final = 200 * NS_PER_US
# After the first one that was not over in time so many are not waited for; after others in a row, at most so many.
PAUSE_MIN: Final = 4
PAUSE_MAX: Final = 4096
# The next such pause is shorter by this part after each batch that was over in time.
SHRINKS_BY: Final = 16


class BriefWaits:
    """One version's."""

    __slots__ = ("_left", "_pause")

    def __init__(self) -> None:
        self._left = 0  # that are not waited for
        self._pause = PAUSE_MIN

    def wait_ns(self, computing_ns: int, stable_ns: int) -> int:
        """How long to wait for a batch that may be expected to compute for so long; 0: not at all.

        stable_ns: what its stable's takes. 0: nobody knows, of either.
        """
        if self._left or not 0 < computing_ns <= min(SHORT_NS, max(LITTLE_NS, STABLE_MULTIPLE * stable_ns)):
            return 0
        return MULTIPLE * computing_ns + CHANGES_NS

    def waited(self, *, over: bool) -> None:
        """over: whether the batch that was waited for was over in time."""
        if over:
            self._pause = max(PAUSE_MIN, self._pause - max(1, self._pause // SHRINKS_BY))
        else:
            self._left = self._pause
            self._pause = min(2 * self._pause, PAUSE_MAX)

    def not_waited(self) -> None:
        """A batch began that is not waited for."""
        self._left = max(0, self._left - 1)
