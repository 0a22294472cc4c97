"""The standby: a worker that has imported all it needs, and waits to be told whose place it takes.

Used by the parent. When a worker ends, those that are left have its traffic too: a successor that has to import numpy,
Numba and ONNX Runtime first takes two seconds of computing from them. Always: the standby imports in nobody's way; only
one that has imported everything is taken, and where there is none, a worker is started from its beginning.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Final

from server.cli.backoff import SECOND_NS, Restarts
from server.cli.children import Child, Reaper, begin_child, tell_child
from server.processes import WorkerSpec

log = logging.getLogger("roost.parent")

OPTION: Final = "--standby"
BEGINS_AFTER_NS: Final = 10 * SECOND_NS  # once the server is ready, or a worker was replaced: both have enough to do
READY_WITHIN_NS: Final = 600 * SECOND_NS  # it imports with what others leave of a core, which may be next to nothing


class Standby:
    """command: of a worker. listener: of all workers. descriptors: what a worker inherits. reaper: of those that end.

    Call `kill` when done.
    """

    def __init__(self, command: Sequence[str], listener: str, descriptors: Sequence[int], reaper: Reaper) -> None:
        self._command = (*command, OPTION)
        self._listener = listener
        self._descriptors = tuple(descriptors)
        self._reaper = reaper
        self._child: Child | None = None
        self._told = -1  # the end of a pipe on which it says that it is ready
        self._ready = False
        self._restarts = Restarts()
        self._due_ns: int | None = None

    def server_is_ready(self) -> None:
        """Before that, none begins."""
        self._due_ns = time.monotonic_ns() + BEGINS_AFTER_NS

    def begin_due(self) -> None:
        """Starts one where there is none, unless the last one ended by itself a short while ago."""
        now_ns = time.monotonic_ns()
        if self._child is not None or self._due_ns is None or max(self._due_ns, self._restarts.due_ns) > now_ns:
            return
        self._restarts = self._restarts.started(now_ns)
        try:
            self._begin()
        except (OSError, subprocess.SubprocessError) as error:  # no memory or no process to be had: try again later
            self._ended(str(error))

    def _begin(self) -> None:
        self._told, tells = os.pipe()
        try:
            os.set_blocking(self._told, False)
            self._child = begin_child((*self._command, str(tells), self._listener), (*self._descriptors, tells))
        finally:
            os.close(tells)

    def look(self) -> None:
        """Notes where it has ended, which it never should, or is not ready and will hardly ever be."""
        if self._child is None:
            return
        if (code := self._child.exit_code()) is not None:
            self._ended(f"exit {code}")
        elif not self._is_ready() and time.monotonic_ns() - self._restarts.started_ns > READY_WITHIN_NS:
            self._child.kill()
            self._ended(f"not ready within {READY_WITHIN_NS / SECOND_NS:g} s")

    def take(self, spec: WorkerSpec) -> Child | None:
        """The standby, which now is the worker of `spec`; None where there is none, or it has not imported all yet."""
        child = self._child
        if child is None or child.exit_code() is not None or not self._is_ready():
            return None
        self._forget()
        self._due_ns = time.monotonic_ns() + BEGINS_AFTER_NS
        tell_child(child, spec)
        return child

    def kill(self) -> None:
        """Waits for nothing: what it holds open is closed as it ends, and the reaper does the rest."""
        if self._child is None:
            return
        self._child.kill()
        self._give_up()

    def _is_ready(self) -> bool:
        if not self._ready:
            with contextlib.suppress(BlockingIOError):
                self._ready = bool(os.read(self._told, 1))
        return self._ready

    def _ended(self, why: str) -> None:
        self._restarts = self._restarts.ended(time.monotonic_ns())
        log.warning("no worker stands by", extra={"fields": {"reason": why, "failures": self._restarts.failures}})
        self._give_up()

    def _give_up(self) -> None:
        if self._child is not None:
            tell_child(self._child, None)
            self._reaper.put(self._child)
        self._forget()

    def _forget(self) -> None:
        self._child = None
        self._ready = False
        if self._told >= 0:
            os.close(self._told)
            self._told = -1
