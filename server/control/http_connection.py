"""A connection of the HTTP port that does not wait for ever on a client that says nothing.

Used by `python -m server.control`. uvicorn itself waits without an end for the first byte of a request, and for its
rest. Always: a connection with no request in progress asks within WAIT_S, or is closed; and where CONNECTIONS_MAX are
open, the one that has waited longest gives way to a new one, so that silent clients never keep a health check out.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

WAIT_S: Final = 5.0
CONNECTIONS_MAX: Final = 256


class HttpConnection(H11Protocol):
    """uvicorn's, with a look at every WAIT_S whether a request came since the last one."""

    _timer: asyncio.TimerHandle | None = None
    _seen: RequestResponseCycle | None = None
    _since: float = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(WAIT_S, self._look)
        if len(self.connections) > CONNECTIONS_MAX:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    @property
    def _waits(self) -> bool:
        # No request yet, or its answer is written: also while a client does not read that answer.
        return self.cycle is None or self.cycle.response_complete

    def _look(self) -> None:
        if self._waits and self.cycle is self._seen:
            self.transport.abort()
            return
        self._seen = self.cycle
        self._timer = self.loop.call_later(WAIT_S, self._look)

    def _make_room(self) -> None:
        others: list[Any] = [other for other in self.connections if other is not self]
        waiting = [other for other in others if other._waits and not other.transport.is_closing()]
        if waiting:
            min(waiting, key=lambda other: float(other._since)).transport.abort()
