"""One connection of the fast lane: uvloop's protocol, once per socket read, and nothing per request.

Used by `fast_lane`, which owns the lane. Always: bytes go from the socket into the worker's one inbox and are read by
a kernel before anything else can happen.
"""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from native.http2.session import receive

NO_INDEX = -1
# How long a peer that was cut off may take to read why.
CLOSE_GRACE_S = 1.0


class ConnectionEvents(Protocol):
    """Who is told what happens to a connection: the fast lane.

    words: the lane's block. inbox: where sockets are read into, one at a time. turn: sees to what was read, once all
    sockets that are readable now have been read, or at once where there is but one; turn_scheduled: it will be called.
    """

    words: npt.NDArray[np.int64]
    inbox: memoryview
    inbox_address: int
    only_connection: bool
    turn_scheduled: bool

    def opened(self, connection: FastConnection) -> None: ...

    def turn(self) -> None: ...

    def call_soon(self, callback: Callable[[], None]) -> object: ...

    def paused(self, connection: FastConnection) -> None: ...

    def resumed(self, connection: FastConnection) -> None: ...

    def lost(self, connection: FastConnection) -> None: ...


class FastConnection(asyncio.BufferedProtocol):
    """A socket's protocol. `index` names the connection in the lane while it is open."""

    __slots__ = ("_stalled_s", "index", "listener", "paused", "transport")

    def __init__(self, listener: ConnectionEvents, stalled_s: float) -> None:
        self.listener = listener
        self._stalled_s = stalled_s
        self.index = NO_INDEX
        self.paused = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self.listener.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.listener.inbox

    def buffer_updated(self, nbytes: int) -> None:
        """A socket read: with `get_buffer`, all the Python that its requests cost before their batch runs."""
        listener = self.listener
        receive(listener.words, self.index, listener.inbox_address, nbytes, time.monotonic_ns())
        if listener.only_connection:
            listener.turn()
        elif not listener.turn_scheduled:
            listener.turn_scheduled = True
            listener.call_soon(listener.turn)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.paused = True
        self.listener.paused(self)
        if self.transport is not None:
            # A peer that doesn't read its replies is not read from either.
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.paused = False
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        self.listener.resumed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.listener.lost(self)
        self.transport = None

    @property
    def unsent_bytes(self) -> int:
        """What the peer has not acknowledged yet, in the transport and in the socket.

        The socket's share shows a reader that takes little at a time: a socket has room again, and the transport's
        share falls, only when a third of megabytes is gone.
        """
        if self.transport is None:
            return 0
        held = bytearray(4)
        fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
        return self.transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)

    def close(self, *, cut_off: bool) -> None:
        """Ends the connection: what is written still goes out, unless it is cut off and the peer has stopped reading.

        A peer that was said goodbye to may take its time for the last replies, as long as it takes any.
        """
        if self.transport is None:
            return
        if cut_off and self.paused:
            self.transport.abort()
            return
        self._close_by(CLOSE_GRACE_S if cut_off else self._stalled_s, self.unsent_bytes)
        self.transport.close()

    def _close_by(self, grace_s: float, unsent_bytes: int) -> None:
        asyncio.get_running_loop().call_later(grace_s, self._abort_if_stuck, grace_s, unsent_bytes)

    def _abort_if_stuck(self, grace_s: float, unsent_before_bytes: int) -> None:
        if self.transport is None:
            return
        unsent_bytes = self.unsent_bytes
        if unsent_bytes < unsent_before_bytes:
            self._close_by(grace_s, unsent_bytes)
        else:
            self.transport.abort()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
