"""Time as this room takes it, so that tests can let hours pass.

Always: ages and waits are monotonic; the wall's time is for what others read, and for how long a restart took.
"""

from __future__ import annotations

import asyncio
import contextlib
import time


class Clock:
    """The machine's."""

    def now_s(self) -> float:
        """Monotonic."""
        return time.monotonic()

    def utc_s(self) -> float:
        """Since 1970, as the wall shows it: it may jump."""
        return time.time()

    async def rest(self, woken: asyncio.Event, wait_s: float | None) -> None:
        """Until `woken` is set, or the time is over. None waits for as long as it takes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await woken.wait()
