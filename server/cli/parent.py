"""The parent: binds the sockets, makes the plane, starts control and workers, starts them again, and stops them.

Used by `roost serve`. It reads no request and loads no model, compiler or registry, so that it has no reason to fail.
One loop waits for signals (SIGCHLD too, by sigtimedwait) and for the next due time: no threads, no handlers, no races.
Always: a child that ended unasked is started again with backoff, a worker without the artifact whose run ended its
predecessor; SIGTERM ends in exit 0 within the drain's limit.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from native.plane.layout import (
    HEADER_CRASH_GENERATION,
    HEADER_CRASH_SEAT,
    HEADER_CRASHES,
    HEADER_LAST_EXIT,
    HEADER_RESTARTS,
    HEADER_STATE,
    PLANE_CONTROL_PID,
    PLANE_CONTROL_READY,
    PLANE_CONTROL_RESTARTS,
    PLANE_PARENT_PID,
    PLANE_STARTED_UTC_NS,
    Plane,
    WorkerBlock,
    WorkerState,
)
from native.plane.routing import (
    BANNED,
    EPOCH,
    HUNG_GENERATION,
    HUNG_SEAT,
    MODELS_MAX,
    ROUTE_STABLE,
    ROUTE_STABLE_GENERATION,
    ROUTE_WORDS,
    RUNNING_MAIN,
    RUNNING_TRIAL,
    RUNNING_TRIAL_GENERATION,
    SEATS_MAX,
    TABLE_ROUTES,
    TABLE_WORDS,
    TABLES,
    TABLES_COUNT,
)
from server.cli.backoff import SECOND_NS, START_FAILURES_MAX, Restarts
from server.cli.children import CONTROL_COMMAND, WARM_COMMAND, WORKER_COMMAND, Child, Reaper, start_child
from server.cli.doors import Doors
from server.cli.ready_file import write_ready_file
from server.cli.standby import Standby
from server.processes import EXIT_HUNG, EXIT_OK, EXIT_REFUSED, ControlSpec, ModelPin, WorkerSpec
from server.settings import Settings

log = logging.getLogger("roost.parent")

EXIT_FAILED: Final = 1
STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})
# What a run can do to its process. SIGKILL is somebody else's doing, once; twice in the same artifact's trial runs, it
# is likelier to be the system's, for want of the memory that they take.
FAULTS: Final = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGSYS})
KILLED_AGAIN_S: Final = 300.0
WAITED_FOR: Final = STOP_SIGNALS | {signal.SIGCHLD}
STARTING_POLL_S: Final = 0.02
READY_POLL_S: Final = 1.0
WARM_SILENCE_S: Final = 2.0  # loading compiled kernels takes less: then nothing is said
KILL_MARGIN_S: Final = 2.0  # a worker keeps the drain's limit itself; the parent kills what failed to
CONTROL_STOP_S: Final = 3.0


@dataclass(frozen=True)
class Commands:
    """What is run for each part; tests run stand-ins."""

    worker: Sequence[str] = WORKER_COMMAND
    control: Sequence[str] = CONTROL_COMMAND
    warm: Sequence[str] | None = WARM_COMMAND


@dataclass
class Place:
    """One child to be kept running: control, or the worker of an index."""

    name: str
    index: int | None
    generation: int = 0
    child: Child | None = None
    restarts: Restarts = field(default_factory=Restarts)


class Stop(Exception):
    """The start was given up, or a stop was asked for: the exit code to end with."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Parent:
    """Call `run` once, from the main thread of a process without other threads."""

    def __init__(
        self,
        settings: Settings,
        pins: Sequence[ModelPin],
        doors: Doors,
        commands: Commands,
        announce: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._pins = tuple(pins)
        self._doors = doors
        self._commands = commands
        self._announce = announce
        self._plane = Plane.create(settings.server.workers)
        self._control = Place("control", None)
        self._workers = [Place(f"worker {index}", index) for index in range(settings.server.workers)]
        self._reaper = Reaper()
        self._standby = (
            Standby(commands.worker, doors.listener, self._inherited, self._reaper) if settings.server.standby else None
        )
        self._was_ready = False
        self._killed_ns: dict[tuple[int, int], int] = {}  # (seat, generation) that was on trial: when, last
        self._warming: Child | None = None

    def run(self) -> int:
        """Serves until a stop signal; returns the exit code."""
        self._plane.words[PLANE_PARENT_PID] = os.getpid()
        self._plane.words[PLANE_STARTED_UTC_NS] = time.time_ns()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started this may have ignored it: then none can be told
        before = signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)
        try:
            self._warm()
            while True:
                self._start_due()
                self._look_for_ready()
                self._wait(self._pause_s())
                self._reap()
        except Stop as stop:
            self._stop()
            log.info("stopped", extra={"fields": {"exit": stop.code}})
            return stop.code
        finally:
            self._kill_all()
            self._doors.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _places(self) -> list[Place]:
        return [self._control, *self._workers]

    def _pause_s(self) -> float:
        """Until the next place is due, at most a poll's length."""
        limit_s = READY_POLL_S if self._was_ready else STARTING_POLL_S
        now_ns = time.monotonic_ns()
        waits_ns = [place.restarts.due_ns - now_ns for place in self._places() if place.child is None]
        return min([limit_s, *(max(wait_ns, 0) / SECOND_NS for wait_ns in waits_ns)])

    def _wait(self, seconds: float) -> None:
        """Until a child ended or the time is over. A stop signal becomes `Stop`."""
        received = signal.sigtimedwait(WAITED_FOR, seconds)
        if received is not None and received.si_signo in STOP_SIGNALS:
            log.info("stopping", extra={"fields": {"signal": signal.Signals(received.si_signo).name}})
            raise Stop(EXIT_OK)

    def _warm(self) -> None:
        """Compiles kernels in one short-lived process: two that fill one cache have crashed the compiler."""
        if self._commands.warm is None:
            return
        started_ns = time.monotonic_ns()
        self._warming = start_child((*self._commands.warm, self._doors.listener), None, ())
        told = False
        while (code := self._warming.poll()) is None:
            self._wait(WARM_SILENCE_S)
            if not told and self._warming.poll() is None:
                log.info("compiling kernels, once for this version and this processor: it takes about a minute")
                told = True
        if code != 0:
            log.error("compiling kernels failed: run `roost warm` to see why", extra={"fields": {"exit": code}})
            raise Stop(EXIT_FAILED)
        seconds = (time.monotonic_ns() - started_ns) / SECOND_NS
        log.debug("kernels are compiled", extra={"fields": {"seconds": f"{seconds:.2f}"}})

    def _start_due(self) -> None:
        now_ns = time.monotonic_ns()
        for place in self._places():
            if place.child is None and place.restarts.due_ns <= now_ns:
                self._start(place)
        if self._standby is not None:
            self._standby.begin_due()

    def _start(self, place: Place) -> None:
        place.generation += 1
        place.restarts = place.restarts.started(time.monotonic_ns())
        try:
            self._start_process(place)
        except (OSError, subprocess.SubprocessError) as error:  # no memory or no process to be had: try again later
            place.restarts = place.restarts.ended(time.monotonic_ns())
            log.error("could not be started", extra={"fields": {"child": place.name, "reason": str(error)}})
        else:
            assert place.child is not None
            log.debug("started", extra={"fields": {"child": place.name, "pid": place.child.pid}})

    def _start_process(self, place: Place) -> None:
        if place.index is None:
            place.child = start_child(
                self._commands.control, self._control_spec(), (self._plane.fd, self._doors.http.fileno())
            )
            self._plane.words[PLANE_CONTROL_PID] = place.child.pid
            self._plane.words[PLANE_CONTROL_RESTARTS] = place.generation - 1
        else:
            header = self._plane.block(place.index).header
            header[HEADER_STATE] = WorkerState.STARTING
            header[HEADER_RESTARTS] = place.generation - 1
            spec = self._worker_spec(place.index, place.generation)
            stood_by = self._standby.take(spec) if self._standby is not None else None
            place.child = stood_by or start_child(self._commands.worker, spec, self._inherited)

    @property
    def _inherited(self) -> tuple[int, ...]:
        """By workers."""
        fast = self._doors.listener == "fast"
        return (self._plane.fd, self._doors.listen.fileno()) if fast else (self._plane.fd,)

    def _control_spec(self) -> BaseModel:
        return ControlSpec(
            http_fd=self._doors.http.fileno(),
            admin_host=self._doors.admin_host,
            admin_port=self._doors.admin_port,
            listen=self._doors.addresses.listen,
            plane_fd=self._plane.fd,
            settings=self._settings,
            pins=self._pins,
        )

    def _worker_spec(self, index: int, generation: int) -> WorkerSpec:
        return WorkerSpec(
            index=index,
            generation=generation,
            listener=self._doors.listener,
            listen_fd=self._doors.listen.fileno() if self._doors.listener == "fast" else None,
            listen_host=self._doors.listen_host,
            listen_port=self._doors.listen_port,
            plane_fd=self._plane.fd,
            settings=self._settings,
        )

    def _reap(self) -> None:
        if self._standby is not None:
            self._standby.look()
        self._reaper.reap_due()
        for place in self._places():
            if place.child is not None and (code := place.child.exit_code()) is not None:
                self._ended(place, code)

    def _ended(self, place: Place, code: int) -> None:
        """A child ended unasked: notes it in the plane, and sets its next start or gives the whole start up."""
        assert place.child is not None
        pid = place.child.pid
        self._reaper.put(place.child)
        place.child = None
        place.restarts = place.restarts.ended(time.monotonic_ns())
        if place.index is not None:
            block = self._plane.block(place.index)
            block.header[HEADER_LAST_EXIT] = code
            block.header[HEADER_STATE] = WorkerState.DEAD
            self._note_culprit(block, code)
            # Whoever comes in its place may be killed before it says that nothing runs.
            block.routing[RUNNING_MAIN] = block.routing[RUNNING_TRIAL] = 0
        fields = {"child": place.name, "pid": pid, "exit": code, "failures": place.restarts.failures}
        if code == EXIT_REFUSED and place.generation == 1:
            log.error("the start is given up: a configuration or a model was refused", extra={"fields": fields})
            raise Stop(EXIT_REFUSED)
        if not self._was_ready and place.restarts.failures >= START_FAILURES_MAX:
            log.error("the start is given up: it keeps failing", extra={"fields": fields})
            raise Stop(EXIT_FAILED)
        log.warning("ended unasked and is started again", extra={"fields": fields})

    def _note_culprit(self, block: WorkerBlock, code: int) -> None:
        """A worker died of what it ran: tells control which artifact that was, and bans one that was on trial.

        Faults count, runs that the worker itself gave up, and kills that come again: a worker that somebody killed says
        nothing about what it ran. Plain stores: whoever loads artifacts next in this worker's place is not there yet.
        """
        if code == EXIT_HUNG:
            seat, generation = int(block.routing[HUNG_SEAT]), int(block.routing[HUNG_GENERATION])
        elif -code in FAULTS or (code == -signal.SIGKILL and self._killed_again(block)):
            # The generation is the next word.
            running = RUNNING_TRIAL if block.routing[RUNNING_TRIAL] > 0 else RUNNING_MAIN
            seat, generation = int(block.routing[running]) - 1, int(block.routing[running + 1])
        else:
            return
        known = 0 <= seat < SEATS_MAX and generation > 0
        block.header[HEADER_CRASH_SEAT] = seat + 1 if known else 0
        block.header[HEADER_CRASH_GENERATION] = generation if known else 0
        if known and seat not in self._stable_seats():
            self._plane.routing[BANNED + seat] = generation
            fields = {"seat": seat}
            log.error("an artifact on trial ended its worker: no worker loads it again", extra={"fields": fields})
        block.header[HEADER_CRASHES] += 1

    def _killed_again(self, block: WorkerBlock) -> bool:
        """Whether a worker was killed in a trial run of the same artifact a short while ago, too."""
        suspect = int(block.routing[RUNNING_TRIAL]), int(block.routing[RUNNING_TRIAL_GENERATION])
        if suspect[0] <= 0:
            return False
        now_ns = time.monotonic_ns()
        before_ns = self._killed_ns.get(suspect)
        self._killed_ns = {suspect: now_ns}  # of one at a time: whoever is next on trial starts with none
        return before_ns is not None and now_ns - before_ns <= KILLED_AGAIN_S * SECOND_NS

    def _stable_seats(self) -> set[int]:
        """The seats that serve now: one that was promoted while its last trial ran is taken home, not just left out."""
        base = TABLES + (int(self._plane.routing[EPOCH]) % TABLES_COUNT) * TABLE_WORDS + TABLE_ROUTES
        routes = self._plane.routing[base : base + MODELS_MAX * ROUTE_WORDS].reshape(MODELS_MAX, ROUTE_WORDS)
        return {int(route[ROUTE_STABLE]) for route in routes if route[ROUTE_STABLE_GENERATION] > 0}

    def _look_for_ready(self) -> None:
        if self._was_ready or self._control.child is None:
            return
        control_answers = self._plane.words[PLANE_CONTROL_READY] == self._control.child.pid
        states = [self._plane.block(index).state for index in range(len(self._workers))]
        if not control_answers or any(state is not WorkerState.READY for state in states):
            return
        pids = [place.child.pid for place in self._workers if place.child is not None]
        if len(pids) < len(self._workers):
            return  # one is dead already, and the loop will see it next
        self._was_ready = True
        if self._standby is not None:
            self._standby.server_is_ready()
        path = self._settings.server.ready_file
        if path is not None:
            self._write_ready_file(path, self._control.child.pid, pids)
        if self._announce is not None:
            self._announce()

    def _write_ready_file(self, path: Path, control: int, workers: Sequence[int]) -> None:
        try:
            write_ready_file(path, self._doors.addresses, os.getpid(), control, workers)
        except OSError as error:
            fields = {"path": str(path), "reason": str(error)}
            log.error("the start is given up: the ready file can't be written", extra={"fields": fields})
            raise Stop(EXIT_FAILED) from error

    def _stop(self) -> None:
        """Workers drain, then control goes: health says "not ready" as long as something is in flight."""
        if self._settings.server.ready_file is not None and self._was_ready:
            self._settings.server.ready_file.unlink(missing_ok=True)
        if self._warming is not None and self._warming.poll() is None:
            self._warming.kill()
            self._warming.wait()
        # Nobody takes a worker's place now, and its copy of the socket would keep the port open.
        if self._standby is not None:
            self._standby.kill()
        # Workers close their copies as they drain: who connects from then on is refused, and does not wait in vain.
        self._doors.listen.close()
        children = [place.child for place in self._workers if place.child is not None]
        limit_s = self._settings.server.drain_timeout_s + KILL_MARGIN_S if self._was_ready else KILL_MARGIN_S
        _end(children, limit_s)
        if self._control.child is not None:
            _end([self._control.child], CONTROL_STOP_S)

    def _kill_all(self) -> None:
        """Leaves nobody behind, whatever went wrong before."""
        if self._standby is not None:
            self._standby.kill()
        for place in self._places():
            if place.child is not None and place.child.poll() is None:
                place.child.kill()
                place.child.wait()
        self._reaper.reap_all()


def _end(children: Sequence[Child], limit_s: float) -> None:
    """SIGTERM, then SIGKILL to those that are still there at the limit, or at a second stop signal."""
    for child in children:
        child.terminate()
    deadline = time.monotonic() + limit_s
    while any(child.exit_code() is None for child in children) and (left_s := deadline - time.monotonic()) > 0:
        received = signal.sigtimedwait(WAITED_FOR, left_s)
        if received is not None and received.si_signo in STOP_SIGNALS:
            log.warning("a second stop signal: killing what is left")
            break
    for child in children:
        if child.exit_code() is None:
            log.warning("killed: it did not stop in time", extra={"fields": {"pid": child.pid, "limit_s": limit_s}})
            child.kill()
            child.wait()
