"""Being asked to end, by Ctrl-C or SIGTERM: a deployment puts what it has begun in order, then goes.

Used by `deploying.py`. Always: the first signal cancels the task; a second one is the process's own again.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[list[str]]:
    """Around what the current task does. Gives a list that has the signal's name once one came."""
    came: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield came  # only the main thread is told of signals
        return
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def give_back() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])

    def stop(number: signal.Signals) -> None:
        came.append(number.name)
        give_back()
        task.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        yield came
    finally:
        give_back()
