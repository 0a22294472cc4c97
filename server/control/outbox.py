"""An outbox: what is decided and must be written elsewhere, tried again until it is.

Used for the journal (every entry, in order) and the registry (the newest document of each model). Always: nothing is
dropped but what a newer item of the same key replaced; while the far side is down, the outbox waits longer and longer,
jittered, and says so once; deciding never waits for it. Where keys are independent, one that can't be written holds up
no other: each waits by itself; and an item may rest for a while, so that many in a second are one write.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from server.control.slow_calls import SlowCalls

log = logging.getLogger("roost.control")

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 30.0
REASON_MAX: Final = 500

Item = TypeVar("Item")


@dataclass
class _Delay:
    """After a failure: how long the last wait was, when it is over, and why it is waited."""

    wait_s: float
    due_s: float
    reason: str


class Outbox(Generic[Item]):
    """name: for the log. write: blocks, raises what stands in the way. changed: told when failure comes or goes.

    independent: keys need not be written in their order. written: told of each item, once it is.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Item], None],
        changed: Callable[[str | None], None],
        *,
        independent: bool = False,
        written: Callable[[Item], None] | None = None,
        longest_wait_s: float = LONGEST_WAIT_S,
        random_: random.Random | None = None,
    ) -> None:
        self._name = name
        self._write = write
        self._changed = changed
        self._independent = independent
        self._written = written
        self._longest_wait_s = longest_wait_s
        self._random = random_ or random.Random()
        self._calls = SlowCalls(f"roost-{name}")
        self._items: dict[Hashable, Item] = {}
        self._delays: dict[Hashable, _Delay] = {}  # of keys whose last try failed
        self._due_s: dict[Hashable, float] = {}  # until then what waits may rest; not of what is being written
        self._draining = False
        self._arrived = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._failure: str | None = None

    @property
    def pending(self) -> int:
        return len(self._items)

    @property
    def failure(self) -> str | None:
        """Why the last try failed, of any key that waits for another; None where none does."""
        return self._failure

    def put(self, key: Hashable, item: Item, *, rest_s: float = 0.0) -> None:
        """A key that waits already keeps its place, and its time, and gets the new item.

        rest_s: it need not be written before, so that newer ones may replace it; for independent keys only.
        """
        assert self._independent or not rest_s, "items in order would wait behind this one"
        due_s = time.monotonic() + (0.0 if self._draining else rest_s)
        self._due_s[key] = min(due_s, self._due_s.get(key, due_s))
        self._items[key] = item
        self._emptied.clear()
        self._arrived.set()

    async def run(self) -> None:
        """Writes what comes, for ever."""
        while True:
            self._arrived.clear()
            if not self._items:
                self._emptied.set()
                await self._arrived.wait()
                continue
            key, wait_s = self._next()
            if wait_s > 0:
                await self._rest(wait_s)
                continue
            item, due_s = self._items[key], self._due_s.pop(key)
            try:
                await self._calls.call(lambda item=item: self._write(item))  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001  # whatever it is: it is shown, and tried again
                self._due_s[key] = min(due_s, self._due_s.get(key, due_s))  # what replaced it says the same, and more
                self._fails(key, error)
                continue
            if self._items[key] is item:
                del self._items[key]
                self._due_s.pop(key, None)
            self._succeeds(key)
            if self._written is not None:
                self._written(item)

    def _next(self) -> tuple[Hashable, float]:
        """What is to be written next, and for how long it must wait yet."""
        now_s = time.monotonic()
        keys = self._items if self._independent else (next(iter(self._items)),)
        waits = {key: self._wait_s(key, now_s) for key in keys}
        key = min(waits, key=waits.__getitem__)
        return key, waits[key]

    def _wait_s(self, key: Hashable, now_s: float) -> float:
        """Below 0 for what should have been written already: that goes before what has just come."""
        due_s = self._due_s[key]
        if key in self._delays:
            due_s = max(due_s, self._delays[key].due_s)
        return due_s - now_s

    async def _rest(self, wait_s: float) -> None:
        """Until the next try is due, or something has come that need not wait for it."""
        if not self._independent:
            await asyncio.sleep(wait_s)
            return
        try:
            async with asyncio.timeout(wait_s):
                await self._arrived.wait()
        except TimeoutError:
            return

    async def drained(self, wait_s: float) -> bool:
        """True once nothing waits; False where that takes longer. Until then nothing rests."""
        self._due_s.update(dict.fromkeys(self._due_s, 0.0))
        self._draining = True
        self._arrived.set()
        try:
            async with asyncio.timeout(wait_s):
                await self._emptied.wait()
        except TimeoutError:
            return False
        finally:
            self._draining = False
        return True

    def _fails(self, key: Hashable, error: Exception) -> None:
        reason = " ".join(f"{error}".split())[:REASON_MAX] or type(error).__name__
        before = self._delays.get(key)
        wait_s = min(max(FIRST_WAIT_S, 2 * before.wait_s if before else 0.0), self._longest_wait_s)
        due_s = time.monotonic() + wait_s * self._random.uniform(0.5, 1.0)
        self._delays[key] = _Delay(wait_s, due_s, reason)
        if self._failure is None:
            fields = {"reason": reason, "pending": self.pending}
            log.error(
                "the %s can't be written: decisions stand, and it is tried again", self._name, extra={"fields": fields}
            )
        self._tell()

    def _succeeds(self, key: Hashable) -> None:
        if self._delays.pop(key, None) is None:
            return
        if not self._delays:
            log.info("the %s is written again", self._name, extra={"fields": {"pending": self.pending}})
        self._tell()

    def _tell(self) -> None:
        """One reason at a time: that of the key which waits for longest."""
        reason = next((delay.reason for delay in self._delays.values()), None)
        if reason != self._failure:
            self._failure = reason
            self._changed(reason)
