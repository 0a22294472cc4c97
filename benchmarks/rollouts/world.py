"""A whole server, its registry and its operator, for whoever watches rollouts from outside.

Used by `benchmarks.rollouts` and by the tests of whole rollouts.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.servers import Served
from benchmarks.swaps.caller import Caller
from benchmarks.swaps.operator import Operator
from benchmarks.swaps.versions import NAME, Versions
from native.plane.layout import HEADER_CRASH_SEAT, HEADER_CRASHES, HEADER_PID, Plane
from native.plane.routes import Route, RouteTables
from native.plane.routing import RUNNING_TRIAL
from native.plane.seats import SeatTable
from registry_client.opening import open_registry
from server.cli.standby import OPTION
from server.control.journal_file import NAME as JOURNAL
from server.lifecycle.journal import read, verify
from server.scheduling import LAST_NICENESS

KEYS = 100_000
WAIT_S = 60.0
IMPORTS_S_MIN = 0.3  # of computing, which imports take at least


@dataclass
class World:
    """One server with two workers, its registry, and an operator. load_core: of whoever calls; None for any."""

    versions: Versions
    server: Served
    operator: Operator
    plane: Plane
    promoted: set[int] = field(default_factory=set)
    load_core: int | None = None

    @property
    def state(self) -> Path:
        return self.versions.folder / "state"

    @property
    def route(self) -> Route:
        return RouteTables(self.plane).current()[1][0]

    def digest(self, variant: str) -> str:
        """Of what the plane's route names; empty where it names none."""
        ref = getattr(self.route, variant)
        return "" if ref is None else SeatTable(self.plane).read()[ref.seat].digest

    def caller(self, keys: int = KEYS, seed: int = 1) -> Caller:
        target, core = self.server.target, self.load_core
        return Caller(target, self.versions.factors, keys=keys, seed=seed, connections=4, core=core)

    def push(self, model_bytes: bytes, factor: int) -> int:
        return self.versions.push(model_bytes, factor)

    def until(
        self, condition: Callable[[], bool], what: str, seconds: float = WAIT_S, *, every_s: float = 0.01
    ) -> None:
        """Raises AssertionError with the end of the server's log."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}\n{self.log()}"
            time.sleep(every_s)

    def pid_of(self, worker: int) -> int:
        return int(self.plane.block(worker).header[HEADER_PID])

    def somebody_stands_by(self) -> bool:
        """Whether a standby has imported all it needs: before that one of its threads is as nice as can be."""
        workers = {self.pid_of(index) for index in range(self.plane.workers)}
        for child in psutil.Process(self.server.process.pid).children(recursive=True):
            try:
                if child.pid in workers or OPTION not in child.cmdline() or child.cpu_times().user < IMPORTS_S_MIN:
                    continue
                nicenesses = {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in child.threads()}
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
            return LAST_NICENESS not in nicenesses
        return False

    def crash_in_its_run(self) -> int:
        """Kills a worker while it runs the canary, as a fault in native code would. Returns the worker's index."""
        seat = self.route.canary
        assert seat is not None
        headers = [self.plane.block(index).header for index in range(self.plane.workers)]
        noted = [int(header[HEADER_CRASHES]) for header in headers]
        crashed = -1

        def crash_one() -> bool:
            nonlocal crashed
            crashed = next((index for index in range(self.plane.workers) if self._crash(index, seat.seat)), -1)
            return crashed >= 0

        self.until(crash_one, "a worker runs the canary", every_s=0.002)
        self.until(lambda: headers[crashed][HEADER_CRASHES] > noted[crashed], "the parent notes it")
        assert headers[crashed][HEADER_CRASH_SEAT] == seat.seat + 1
        return crashed

    def _crash(self, worker: int, seat: int) -> bool:
        """Only where it runs the seat on its trial side still when it has been stopped: then it is in that run."""
        routing, pid = self.plane.block(worker).routing, self.pid_of(worker)
        if routing[RUNNING_TRIAL] != seat + 1:
            return False
        os.kill(pid, signal.SIGSTOP)
        while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            time.sleep(0)
        if runs := routing[RUNNING_TRIAL] == seat + 1:
            os.kill(pid, signal.SIGSEGV)
        os.kill(pid, signal.SIGCONT)
        return bool(runs)

    def log(self) -> str:
        return self.server.log.read_text(errors="replace")[-3000:]

    def journal(self) -> list[dict[str, Any]]:
        """All entries on disk, after the file was verified whole."""
        content = (self.state / JOURNAL).read_bytes()
        verify(content)
        return [dict(line.entry) for line in read(content)]

    def check_that_all_agree(self) -> None:
        """Journal, plane, registry and what the operator is told: all of one mind, soon."""

        def registry() -> dict[str, str]:
            found = open_registry(self.versions.location).versions(NAME)
            return {alias: one.digest for one in found for alias in one.aliases}

        def agree() -> bool:
            told = self.operator.state()
            seen = {variant: self.digest(variant) for variant in ("stable", "canary", "last_safe")}
            said = {variant: getattr(told, variant).digest for variant in seen}
            last = [entry for entry in self.journal() if entry.get("revision") is not None][-1]
            return (
                seen == said
                and {alias: digest for alias, digest in seen.items() if digest} == registry()
                and last["revision"] == told.revision == self.route.revision
            )

        self.until(agree, "journal = plane = registry", 20.0)
