"""Accepting connections from a socket that several workers share, so that each gets its part.

All workers wait for the same socket; the one with fewer connections takes what comes, the others hold back a moment.
(Sockets of their own, by SO_REUSEPORT, would leave one of two workers without any of four connections once in eight
starts, and lose a dead worker's queue.) Always: nobody holds back for more than HOLD_BACK_S_MAX, so that a worker which
hangs can't starve the others' clients.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

log = logging.getLogger("roost.worker")

HOLD_BACK_S = 0.002
HOLD_BACK_S_MAX = 0.02
ACCEPT_AT_ONCE_MAX = 64
EXHAUSTED_PAUSE_S = 0.1


class Acceptor:
    """Takes connections from a listening, non-blocking socket.

    connections: how many this worker has. connections_elsewhere: the fewest that another ready worker has, None where
    there is no other.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.BufferedProtocol],
        connections: Callable[[], int],
        connections_elsewhere: Callable[[], int | None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._protocol = protocol
        self._connections = connections
        self._connections_elsewhere = connections_elsewhere
        self._held_back_s = 0.0
        self._waiting: asyncio.TimerHandle | None = None
        self._pending: set[asyncio.Task[object]] = set()
        self._stopped = False

    def start(self) -> None:
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening, self._acceptable)

    @property
    def opening(self) -> bool:
        """Whether a connection was accepted that has not been made yet, also after `stop`."""
        return bool(self._pending)

    def stop(self) -> None:
        """Accepts no more, and closes this process's copy of the socket; other workers accept from theirs."""
        self._stopped = True
        self._loop.remove_reader(self._listening)
        self._listening.close()
        if self._waiting is not None:
            self._waiting.cancel()

    def _acceptable(self) -> None:
        elsewhere = self._connections_elsewhere()
        if elsewhere is None:
            self._accept(ACCEPT_AT_ONCE_MAX)
            return
        mine = self._connections() + len(self._pending)
        if mine > elsewhere and self._held_back_s < HOLD_BACK_S_MAX:
            self._held_back_s += HOLD_BACK_S
            self._pause(HOLD_BACK_S)
            return
        self._held_back_s = 0.0
        self._accept(1)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening)
        self._waiting = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._waiting = None
        if not self._stopped:
            self._loop.add_reader(self._listening, self._acceptable)

    def _accept(self, count: int) -> None:
        for _ in range(count):
            try:
                connection, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors or memory: those who wait are taken once there is room again.
                log.warning("accept: %s. Raise the limit of open files (ulimit -n).", error)
                self._pause(EXHAUSTED_PAUSE_S)
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task: asyncio.Task[object] = self._loop.create_task(self._take(connection))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)

    async def _take(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError as error:
            log.info("a connection was gone before it was served: %s", error)
            connection.close()
