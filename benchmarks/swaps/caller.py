"""A caller that checks every reply bit by bit against the version that it claims, at any rate.

Used by `benchmarks.swaps` and by the tests of whole rollouts. One thread; requests fall due by the clock, whether or
not earlier ones were answered (`rate`), or as soon as one was (`in_flight`). A connection that ends is made again, and
what was in flight on it counts as lost. Always: sent = right + wrong + failed + lost + in flight.
"""

from __future__ import annotations

import gc
import os
import select
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
import numpy.typing as npt

from benchmarks.swaps import wire
from benchmarks.swaps.connection import Connection, frame, good_trailers, headers_of, template_of
from server.scheduling import URGENT_SLICE_NS, schedule_thread

TICK_S = 0.001
STREAMS_MAX = 900  # of a connection at once; servers allow 1,024
GIVE_BACK = 1 << 26
LOG_MAX = 8_000_000
FAILURES_MAX = 4096
RECONNECT_S = 0.02
SETTLE_S = 10.0
SWITCH_INTERVAL_S = 0.0001
NS = 1_000_000_000


@dataclass(frozen=True)
class Mark:
    """A moment in a caller's counts."""

    sent: int
    answered: int
    failed: int
    lost: int
    logged: int
    at_ns: int


@dataclass
class Pace:
    """What the caller shall do. rate: requests a second; in_flight: as many as are answered, in place of a rate."""

    rate: float = 0.0
    in_flight: int = 0
    since_ns: int = field(default_factory=time.monotonic_ns)
    sent: int = 0


class Caller:
    """Use as a context manager; set the pace with `pace`.

    factors: of the versions' right answers, by version. keys: how many routing keys, 0 for none. core: for its thread.
    """

    def __init__(
        self,
        target: str,
        factors: Sequence[int],
        *,
        connections: int = 8,
        keys: int = 0,
        seed: int = 1,
        headers: Sequence[tuple[bytes, bytes]] = (),
        core: int | None = None,
    ) -> None:
        host, _, port = target.rpartition(":")
        self._core = core
        self._factors = np.zeros(wire.VALUES_END * 4, np.int64)
        self._factors[: len(factors)] = factors
        self._template, self._places = template_of(keys > 0, headers)
        self._connections = [Connection((host, int(port)), number, keys, seed) for number in range(connections)]
        self._counts = np.zeros(wire.COUNTS, np.int64)
        self._by_version = np.zeros((len(self._factors), 2), np.int64)
        self._log = np.zeros((LOG_MAX, 4), np.int64)
        if core is not None:
            # Who asks for a core measures, and to touch two megabytes for the first time takes 4 ms.
            self._log.fill(0)
        self._failures = np.zeros((FAILURES_MAX, 3), np.int64)
        self._blocks = np.zeros((FAILURES_MAX, wire.BLOCK_BYTES_MAX), np.uint8)
        self._ping = np.zeros(8, np.uint8)
        self._out = np.empty(1 << 20, np.uint8)
        self._good = np.zeros(0, np.uint8)
        self._sent = self._lost = 0
        self._pace = Pace()
        self._usual_interval_s = sys.getswitchinterval()
        self._ended = threading.Event()
        self._forgotten = threading.Event()
        self._forgotten.set()
        self._thread = threading.Thread(target=self._run, name="caller", daemon=True)
        self._problem: Exception | None = None

    def __enter__(self) -> Caller:
        # What this process does beside must not be taken for the server's: a full collection is 60 ms, and a thread
        # that wants the interpreter waits 5 ms for one that is busy.
        gc.collect()
        gc.freeze()
        self._usual_interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._good = good_trailers(self._connections[0], self._template)
        for connection in self._connections:
            connection.open()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        for connection in self._connections:
            connection.close()
        sys.setswitchinterval(self._usual_interval_s)
        gc.unfreeze()
        if self._problem is not None and error is None:
            raise self._problem

    # --- What it shall do --------------------------------------------------------------------------------------------
    def pace(self, *, rate: float = 0.0, in_flight: int = 0) -> None:
        """From now on; without either it only reads what is still to come."""
        self._pace = Pace(rate, in_flight)

    def settle(self) -> None:
        """Stops, and waits until nothing is in flight. Raises TimeoutError."""
        self.pace()
        until = time.monotonic() + SETTLE_S
        while self.in_flight:
            if self._problem is not None:
                raise self._problem
            if time.monotonic() > until:
                raise TimeoutError(f"{self.in_flight} calls were not answered within {SETTLE_S:g} s.")
            time.sleep(0.002)

    def factor(self, version: int, factor: int) -> None:
        """Of a version that was pushed later."""
        self._factors[version] = factor

    # --- What it saw -------------------------------------------------------------------------------------------------
    @property
    def in_flight(self) -> int:
        return int(sum(int(connection.words[wire.IN_FLIGHT]) for connection in self._connections))

    def mark(self) -> Mark:
        counts = self._counts
        return Mark(
            self._sent,
            int(counts[wire.COUNT_ANSWERED]),
            int(counts[wire.COUNT_FAILED]),
            self._lost,
            int(counts[wire.COUNT_LOGGED]),
            time.monotonic_ns(),
        )

    @property
    def wrong(self) -> dict[int, int]:
        """Answers that were not their version's, by version; 0: they had none, or were no reply at all."""
        return {number: int(count) for number, count in enumerate(self._by_version[:, 1]) if count}

    @property
    def right(self) -> dict[int, int]:
        return {number: int(count) for number, count in enumerate(self._by_version[:, 0]) if count}

    @property
    def failed(self) -> int:
        return int(self._counts[wire.COUNT_FAILED])

    @property
    def lost(self) -> int:
        """Calls whose connection ended first."""
        return self._lost

    def answers(self, since: Mark | None = None, until: Mark | None = None) -> npt.NDArray[np.int64]:
        """[answers, 4]: due, answered, version, 1 if right; times by the monotonic clock, in nanoseconds.

        Raises RuntimeError where the log was too small for all that came.
        """
        if self._counts[wire.COUNT_LOGGED] >= LOG_MAX:
            raise RuntimeError(f"caller: expected at most {LOG_MAX} answers in its log, got more. Forget more often.")
        first = 0 if since is None else since.logged
        last = int(self._counts[wire.COUNT_LOGGED]) if until is None else until.logged
        return self._log[first:last].copy()

    def forget(self) -> None:
        """Empties the log. Marks taken before are void. Done by the thread that writes the log, and waited for."""
        self._forgotten.clear()
        while not self._forgotten.wait(0.1):
            if self._problem is not None:
                raise self._problem

    def failures(self) -> Iterator[tuple[int, str, str]]:
        """(answered, status, message) of the first FAILURES_MAX failed calls."""
        for entry in range(int(self._counts[wire.COUNT_FAILURES])):
            size = int(self._failures[entry, 2])
            if size == 0:
                yield int(self._failures[entry, 1]), "reset", ""
                continue
            found = headers_of(self._blocks[entry, :size].tobytes())
            yield int(self._failures[entry, 1]), found.get("grpc-status", "none"), found.get("grpc-message", "")

    def failed_by_status(self) -> Counter[tuple[str, str]]:
        return Counter((status, message) for _, status, message in self.failures())

    # --- In its thread -----------------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            schedule_thread(URGENT_SLICE_NS)
            if self._core is not None:
                _pin_this_thread(self._core)
            while not self._ended.is_set():
                self._turn()
        except Exception as problem:  # noqa: BLE001  # whatever it is, it is raised where the caller is left
            self._problem = problem

    def _turn(self) -> None:
        if not self._forgotten.is_set():
            self._counts[wire.COUNT_LOGGED] = 0
            self._forgotten.set()
        now_ns = time.monotonic_ns()
        self._connect(now_ns)
        pace = self._pace
        if pace.rate:
            self._send(pace, int((now_ns - pace.since_ns) * pace.rate / NS) - pace.sent, now_ns)
        elif pace.in_flight:
            self._send(pace, pace.in_flight - self.in_flight, now_ns)
        opened = {one.socket: one for one in self._connections if one.socket is not None}
        if not opened:
            time.sleep(TICK_S)
            return
        blocked = [ready for ready, one in opened.items() if one.unsent]
        readable, _, _ = select.select(list(opened), blocked, [], TICK_S)
        for ready in readable:
            self._read(opened[ready])
        for connection in opened.values():
            if connection.unsent:
                self._flush(connection)

    def _connect(self, now_ns: int) -> None:
        for connection in self._connections:
            if connection.socket is None and now_ns / NS > connection.retry_s:
                try:
                    connection.open()
                except OSError:
                    connection.retry_s = now_ns / NS + RECONNECT_S

    def _send(self, pace: Pace, most: int, now_ns: int) -> None:
        """Shares out what is due. What no connection takes stays due, since it fell due."""
        for turn, connection in enumerate(self._connections):
            if most <= 0:
                return
            if connection.socket is None or connection.unsent or connection.words[wire.GOING_AWAY]:
                continue
            share = -(-most // (len(self._connections) - turn))
            due_ns = now_ns
            if pace.rate:
                behind_ns = now_ns - pace.since_ns - int(pace.sent * NS / pace.rate)
                due_ns = now_ns - max(0, behind_ns - int(2 * TICK_S * NS))
            written = wire.write_requests(
                connection.words, connection.calls, self._template, self._places, self._out, share, due_ns, STREAMS_MAX
            )
            if written:
                connection.unsent = self._out[: written * self._template.size].tobytes()
                pace.sent += written
                self._sent += written
                most -= written
                self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        try:
            connection.flush()
        except OSError:
            self._lost += connection.close()

    def _read(self, connection: Connection) -> None:
        assert connection.socket is not None
        try:
            count = connection.socket.recv_into(connection.buffer.data[connection.filled :])
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count == 0:
            self._lost += connection.close()
            return
        connection.filled += count
        consumed = wire.read_frames(
            connection.buffer,
            connection.filled,
            connection.words,
            connection.calls,
            self._factors,
            self._good,
            self._by_version,
            self._counts,
            self._log,
            self._blocks,
            self._failures,
            self._ping,
            time.monotonic_ns(),
        )
        left = connection.filled - consumed
        connection.buffer[:left] = connection.buffer[consumed : connection.filled].copy()
        connection.filled = left
        self._answer(connection)

    def _answer(self, connection: Connection) -> None:
        """What HTTP/2 wants answered."""
        for _ in range(int(self._counts[wire.COUNT_SETTINGS])):
            connection.unsent += frame(wire.SETTINGS, 1, 0, b"")
        if self._counts[wire.COUNT_PINGS]:
            connection.unsent += frame(wire.PING, 1, 0, self._ping.tobytes())
        self._counts[wire.COUNT_SETTINGS] = self._counts[wire.COUNT_PINGS] = 0
        if connection.words[wire.LENT] > GIVE_BACK:
            connection.unsent += frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", int(connection.words[wire.LENT])))
            connection.words[wire.LENT] = 0
        if connection.words[wire.GOING_AWAY] and connection.words[wire.IN_FLIGHT] == 0:
            connection.close()


def _pin_this_thread(core: int) -> None:
    os.sched_setaffinity(0, {core})
