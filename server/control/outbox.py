"""An outbox: what is decided and must be written elsewhere, tried again until it is.

Used for the journal (every entry, in order) and the registry (the newest document of each model). Always: nothing is
dropped but what a newer item of the same key replaced; while the far side is down, the outbox waits longer and longer,
jittered, and says so once; deciding never waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

from server.control.slow_calls import SlowCalls

log = logging.getLogger("roost.control")

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 30.0
REASON_MAX: Final = 300

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """name: for the log. write: blocks, raises what stands in the way. changed: told when failure comes or goes."""

    def __init__(
        self,
        name: str,
        write: Callable[[Item], None],
        changed: Callable[[str | None], None],
        *,
        longest_wait_s: float = LONGEST_WAIT_S,
        random_: random.Random | None = None,
    ) -> None:
        self._name = name
        self._write = write
        self._changed = changed
        self._longest_wait_s = longest_wait_s
        self._random = random_ or random.Random()
        self._calls = SlowCalls(f"roost-{name}")
        self._items: dict[Hashable, Item] = {}
        self._arrived = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._failure: str | None = None

    @property
    def pending(self) -> int:
        return len(self._items)

    @property
    def failure(self) -> str | None:
        """Why the last try failed; None where it did not."""
        return self._failure

    def put(self, key: Hashable, item: Item) -> None:
        """A key that waits already keeps its place and gets the new item."""
        self._items[key] = item
        self._emptied.clear()
        self._arrived.set()

    async def run(self) -> None:
        """Writes what comes, for ever."""
        wait_s = 0.0
        while True:
            await self._arrived.wait()
            if wait_s:
                await asyncio.sleep(wait_s * self._random.uniform(0.5, 1.0))
            key, item = next(iter(self._items.items()))
            try:
                await self._calls.call(lambda item=item: self._write(item))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001  # whatever it is: it is shown, and tried again
                wait_s = min(max(FIRST_WAIT_S, 2 * wait_s), self._longest_wait_s)
                self._fails(error)
                continue
            wait_s = 0.0
            self._succeeds()
            if self._items[key] is item:
                del self._items[key]
            if not self._items:
                self._arrived.clear()
                self._emptied.set()

    async def drained(self, wait_s: float) -> bool:
        """True once nothing waits; False where that takes longer."""
        try:
            async with asyncio.timeout(wait_s):
                await self._emptied.wait()
        except TimeoutError:
            return False
        return True

    def _fails(self, error: Exception) -> None:
        reason = " ".join(f"{error}".split())[:REASON_MAX] or type(error).__name__
        if self._failure is None:
            fields = {"reason": reason, "pending": self.pending}
            log.error(
                "the %s can't be written: decisions stand, and it is tried again", self._name, extra={"fields": fields}
            )
        if reason != self._failure:
            self._failure = reason
            self._changed(reason)

    def _succeeds(self) -> None:
        if self._failure is not None:
            self._failure = None
            log.info("the %s is written again", self._name, extra={"fields": {"pending": self.pending}})
            self._changed(None)
