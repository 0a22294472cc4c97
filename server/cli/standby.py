"""The standby: a worker that has imported all it needs, and waits to be told whose place it takes.

Used by the parent. When a worker ends, those that are left have its traffic too: a successor that has to import numpy,
Numba and ONNX Runtime first takes two seconds of computing from them. Always: the standby imports in nobody's way; only
one that has imported everything is taken, and where there is none, a worker is started from its beginning.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Final

from server.cli.backoff import SECOND_NS, Restarts
from server.cli.children import Child, begin_child, tell_child
from server.processes import WorkerSpec

log = logging.getLogger("roost.parent")

OPTION: Final = "--standby"
BEGINS_AFTER_NS: Final = 10 * SECOND_NS  # once the server is ready, or a worker was replaced: both have enough to do


class Standby:
    """command: of a worker. listener: of all workers. descriptors: what a worker inherits. Call `kill` when done."""

    def __init__(self, command: Sequence[str], listener: str, descriptors: Sequence[int]) -> None:
        self._command = (*command, OPTION)
        self._listener = listener
        self._descriptors = tuple(descriptors)
        self._child: Child | None = None
        self._told = -1  # the end of a pipe on which it says that it is ready
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

    def reap(self) -> None:
        """Notes where it has ended, which it never should."""
        if self._child is not None and (code := self._child.poll()) is not None:
            self._ended(f"exit {code}")

    def take(self, spec: WorkerSpec) -> Child | None:
        """The standby, which now is the worker of `spec`; None where there is none, or it has not imported all yet."""
        child = self._child
        if child is None or child.poll() is not None or not self._is_ready():
            return None
        self._forget()
        self._due_ns = time.monotonic_ns() + BEGINS_AFTER_NS
        tell_child(child, spec)
        return child

    def kill(self) -> None:
        if self._child is None:
            return
        self._child.kill()
        self._child.wait()
        tell_child(self._child, None)
        self._forget()

    def _is_ready(self) -> bool:
        try:
            return bool(os.read(self._told, 1))
        except BlockingIOError:
            return False

    def _ended(self, why: str) -> None:
        self._restarts = self._restarts.ended(time.monotonic_ns())
        log.warning("no worker stands by", extra={"fields": {"reason": why, "failures": self._restarts.failures}})
        if self._child is not None:
            tell_child(self._child, None)
        self._forget()

    def _forget(self) -> None:
        self._child = None
        if self._told >= 0:
            os.close(self._told)
            self._told = -1
