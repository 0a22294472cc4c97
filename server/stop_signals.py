"""SIGTERM and SIGINT of a process that serves: the first asks for the end, and none turns its exit code into a kill's.

Used by a worker and by control. asyncio's own handlers leave a moment, while they are taken away and until the process
has ended, in which a second signal kills: a parent that repeats itself would count a clean end as a crash.
"""

from __future__ import annotations

import asyncio
import signal
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Made on the main thread, within the running loop. asked: set by the first signal."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.asked = asyncio.Event()
        for number in STOP_SIGNALS:
            signal.signal(number, self._came)

    def _came(self, _number: int, _frame: FrameType | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.asked.set)

    def ignore(self) -> None:
        """For the rest of this process: its end has begun."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
