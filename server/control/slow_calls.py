"""Calls that may be slow, in a thread of their own: the disk's fsync, the registry, hashing a bundle.

Used by the control process for everything that blocks. Always: one call at a time and in order, for each `SlowCalls`;
the thread never keeps the process from ending, whatever it waits for.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class SlowCalls:
    """A thread, begun with the first call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def call(self, function: Callable[[], Result]) -> Result:
        """What the function returns or raises. A caller that is cancelled does not end it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Result] = loop.create_future()
        self._jobs.put((function, loop, answered))
        return await answered

    def _run(self) -> None:
        while True:
            function, loop, answered = self._jobs.get()
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001  # it is the caller's
                _tell(loop, answered, None, error)
            else:
                _tell(loop, answered, result, None)


def _tell(
    loop: asyncio.AbstractEventLoop, answered: asyncio.Future[Any], result: Any, error: BaseException | None
) -> None:
    def settle() -> None:
        if answered.done():
            return
        if error is None:
            answered.set_result(result)
        else:
            answered.set_exception(error)

    if not loop.is_closed():
        loop.call_soon_threadsafe(settle)
