"""The fast lane: uvloop sockets, libnghttp2 sessions, kernels in between.

Chosen by `listener = "fast"`. Python runs here once per socket read, once per batch and for calls that kernels hand
over. Always: every nghttp2 call is made from this loop, none from within another; bytes for all connections leave in
one pass, `flush`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from native.batch.memory import address_of
from native.http2 import answers, session
from native.http2.lane import Lane
from native.lane.layout import (
    LANE_CALLBACK_ERRORS,
    LANE_HANDED_COUNT,
    LANE_NOW_NS,
    LANE_QUEUED_ROWS,
    LANE_SEGMENT_COUNT,
    LANE_TOUCHED_COUNT,
)
from native.lane.slots import touch
from native.plane.counters import CUTOFF_CONNECTIONS_MAX
from server.worker.batcher import BatchLoop
from server.worker.listeners.accepting import Acceptor
from server.worker.listeners.fast_connection import FastConnection
from server.worker.listeners.handed_calls import HandedCalls
from server.worker.servicers.call import Serving
from server.worker.status import StatusError

log = logging.getLogger("roost.worker")

TICK_S = 1.0
DRAIN_TICK_S = 0.05
AGE_JITTER_NS = 10 * 10**9


class FastLaneListener:
    """Serves one inherited listening socket. See `listener.Listener`."""

    def __init__(
        self,
        serving: Serving,
        lane: Lane,
        batches: BatchLoop,
        listening: socket.socket,
        connections_elsewhere: Callable[[], int | None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.call_soon = self._loop.call_soon
        self.failure: asyncio.Future[None] = self._loop.create_future()
        self._lane = lane
        self.words = lane.words
        self._peek = lane.words.data  # plain ints, cheaper than numpy's
        self._outbox = lane.outbox.data
        self.inbox = lane.inbox.data
        self.inbox_address = address_of(lane.inbox)
        self._batches = batches
        self._connections: list[FastConnection | None] = [None] * lane.limits.connections_max
        self._handed = HandedCalls(serving, lane, self.flush_soon)
        self._stalled_s = lane.limits.stalled_timeout_ns / 1e9
        self._acceptor = Acceptor(
            listening,
            lambda: FastConnection(self, self._stalled_s),
            lambda: lane.connection_count,
            connections_elsewhere,
        )
        # Connections whose sockets are full, and how much they held when last looked at.
        self._paused: dict[FastConnection, int] = {}
        self.turn_scheduled = False
        # With one connection there is no other socket whose rows a batch could wait for.
        self.only_connection = False
        self._tick_s = TICK_S
        self._ticking: asyncio.TimerHandle | None = None
        self._draining = self._closed = False
        batches.answers = self

    async def start(self) -> None:
        self._previous_hook = sys.unraisablehook
        sys.unraisablehook = self._note_unraisable
        self._acceptor.start()
        self._tick()

    def _note_unraisable(self, unraisable: Any) -> None:
        """An exception that escaped a compiled callback is taken for success by nghttp2: this makes it an error.

        The kernel that called nghttp2 sees the count move and cuts the connection off.
        """
        if threading.current_thread() is threading.main_thread():
            self.words[LANE_CALLBACK_ERRORS] += 1
        self._previous_hook(unraisable)

    # --- What connections tell -----------------------------------------------------------------------------------
    def opened(self, connection: FastConnection) -> None:
        if self._closed:
            connection.abort()
            return
        now_ns = time.monotonic_ns()
        index = self._lane.open(now_ns)
        if index is None:
            self._lane.counters[CUTOFF_CONNECTIONS_MAX] += 1
            connection.abort()
            return
        connection.index = index
        self._connections[index] = connection
        self.only_connection = self._lane.connection_count == 1
        if self._draining:  # it was accepted just before
            self.words[LANE_NOW_NS] = now_ns
            session.go_away(self.words, index, session.GOAWAY_NOTICE)
        self.flush_soon()

    def turn(self) -> None:
        """Sockets were read, or there is something to send: sees to handed calls, the next batch and the writes."""
        self.turn_scheduled = False
        if self._peek[LANE_HANDED_COUNT]:
            self._handed.take()
        if self._peek[LANE_QUEUED_ROWS]:
            self._batches.run()
        if self._peek[LANE_TOUCHED_COUNT]:
            self.flush()

    def paused(self, connection: FastConnection) -> None:
        if connection.index >= 0:
            self._lane.connections["paused"][connection.index] = 1
            self._lane.connections["paused_ns"][connection.index] = time.monotonic_ns()
            self._paused[connection] = connection.unsent_bytes

    def resumed(self, connection: FastConnection) -> None:
        self._paused.pop(connection, None)
        if connection.index >= 0:
            self._lane.connections["paused"][connection.index] = 0
            touch(self.words, connection.index)
            self.flush_soon()

    def lost(self, connection: FastConnection) -> None:
        self._paused.pop(connection, None)
        if connection.index >= 0:
            self._connections[connection.index] = None
            self._lane.close(connection.index)
            connection.index = -1
            self.only_connection = self._lane.connection_count == 1

    # --- What batches tell ---------------------------------------------------------------------------------------
    def answer_batch(self, arena: int, *, hold: bool = False) -> None:
        request = 0
        while request != answers.ALL:
            request = answers.answer_batch(self.words, arena, request, time.monotonic_ns())
            if request != answers.ALL or not hold:
                self.flush()

    def refuse(self, slots: npt.NDArray[np.int64], count: int, refusal: int) -> None:
        answers.refuse_unrun(self.words, slots, count, refusal)
        self.flush_soon()

    def fail(self, slot: int, error: StatusError) -> None:
        self._handed.refuse(slot, int(self._lane.slots[slot]["generation"]), error)

    # --- What leaves ---------------------------------------------------------------------------------------------
    def flush_soon(self) -> None:
        """Sends what there is to send, in the loop's next turn."""
        if not self.turn_scheduled:
            self.turn_scheduled = True
            self._loop.call_soon(self.turn)

    def flush(self) -> None:
        """Writes what all touched connections have to send: one kernel call, one write per connection.

        As `bytes`: uvloop keeps a view of what it is given, and the outbox is filled again.
        """
        more = session.MORE
        while more:
            more = session.flush_touched(self.words)
            for index, start, end, close in self._lane.segments[: self._peek[LANE_SEGMENT_COUNT]].tolist():
                connection = self._connections[index]
                if connection is None:
                    continue
                if end > start and connection.transport is not None:
                    try:
                        connection.transport.write(bytes(self._outbox[start:end]))
                    except MemoryError:  # its streams can't go on without what is lost; others' can
                        connection.abort()
                        with suppress(MemoryError):
                            log.error("a connection is cut off: there is no memory for what it is to be sent")
                        continue
                if close:
                    connection.close(cut_off=close == session.CUT_OFF)

    def _note_progress(self) -> None:
        """A reader that is slow, but reads, is no stalled one: only the socket knows."""
        for connection, held_bytes in self._paused.items():
            unsent_bytes = connection.unsent_bytes
            if unsent_bytes < held_bytes:
                self._lane.connections["paused_ns"][connection.index] = time.monotonic_ns()
            self._paused[connection] = unsent_bytes

    def _tick(self) -> None:
        self._note_progress()
        session.tick(self.words, time.monotonic_ns(), AGE_JITTER_NS)
        self._handed.drop_cancelled()
        self.flush_soon()
        self._ticking = self._loop.call_later(self._tick_s, self._tick)

    # --- The end -------------------------------------------------------------------------------------------------
    def begin_drain(self) -> None:
        """GOAWAY to all: no new connections; calls that are under way, or on the wire already, are answered."""
        self._acceptor.stop()
        self._draining = True
        self.words[LANE_NOW_NS] = time.monotonic_ns()
        for connection in self._connections:
            if connection is not None:
                session.go_away(self.words, connection.index, session.GOAWAY_NOTICE)
        self._tick_s = DRAIN_TICK_S
        if self._ticking is not None:
            self._ticking.cancel()
        self._tick()

    async def drain(self, grace_s: float) -> None:
        deadline_s = self._loop.time() + grace_s
        while (self._acceptor.opening or any(self._connections)) and self._loop.time() < deadline_s:
            await asyncio.sleep(DRAIN_TICK_S)
        self._closed = True
        for connection in self._connections:
            if connection is not None:
                connection.abort()
        # connection_lost comes in the loop's next turn, and gives slots back.
        await asyncio.sleep(0)
        await self._handed.close()
        if self._ticking is not None:
            self._ticking.cancel()
        sys.unraisablehook = self._previous_hook
