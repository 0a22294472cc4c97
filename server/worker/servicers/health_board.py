"""Which services are well: written by the worker's process, read and watched by the health servicer.

Everything happens on the worker's loop. Always: every watcher sees the current state first and then every last state
that stood for a whole turn of the loop; a closed board ends its watchers, so that a drain waits for none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable


class HealthBoard:
    """Serving or not, by service name; "" is the server as a whole. Starts as not serving."""

    def __init__(self, services: Iterable[str]) -> None:
        self._serving = dict.fromkeys(["", *services], False)
        self._changed = asyncio.Event()
        self._closed = False

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(self._serving)

    @property
    def is_serving(self) -> bool:
        return self._serving[""]

    def state(self, service: str) -> bool | None:
        """None for a service that is not known here."""
        return self._serving.get(service)

    def serve(self) -> None:
        self._set_all(True)

    def drain(self) -> None:
        """Not serving, for good: watchers are told, then released."""
        self._closed = True
        self._set_all(False)

    def _set_all(self, serving: bool) -> None:
        for service in self._serving:
            self._serving[service] = serving
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def watch(self, service: str) -> AsyncIterator[bool | None]:
        """The state now and at every change, until the board is closed."""
        while True:
            changed, state, closed = self._changed, self.state(service), self._closed
            yield state
            if closed:
                return
            while not self._closed and self.state(service) == state:
                await changed.wait()
                changed = self._changed
