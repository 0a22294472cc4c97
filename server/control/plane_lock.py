"""The plane's lock: at most one process at a time writes seats and routes.

Control holds it from its start to its end, the break-glass command for a moment. It is a lock of the file, taken on a
description of our own (an inherited descriptor would share it with every other process), so that it ends with its
holder, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import Final

RETRY_S: Final = 0.02


class PlaneHeld(RuntimeError):
    """Another process writes."""


class PlaneLock:
    """Taken by `take`, given back by `release` or the end of the process."""

    def __init__(self, path: str) -> None:
        """path: of the plane, as /proc/self/fd/N or /proc/PID/fd/N."""
        self._path = path
        self._fd = -1

    def take(self, wait_s: float) -> None:
        """Raises PlaneHeld where another process holds it for longer than wait_s."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    self.release()
                    raise PlaneHeld("the plane: expected no other writer, got one: a control process lives") from None
            time.sleep(RETRY_S)

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def own_plane(fd: int) -> PlaneLock:
    """The lock of an inherited plane."""
    return PlaneLock(f"/proc/self/fd/{fd}")
