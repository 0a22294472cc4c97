"""Loads that are under way: one for each artifact of a model, and what became of it, as an event of the lifecycle.

Used by the driver; `loading` knows what a load takes. Always: a load ends in one event, Loaded or LoadFailed, unless it
was cancelled; what is to serve is waited for, and that it waits is an alert.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol

from server.control.event_log import EventLog
from server.control.loading import ArtifactLoader, LoadRefused, NotNow, is_waited_for
from server.lifecycle.events import Event, Loaded, LoadFailed
from server.lifecycle.state import Artifact, ModelState

log = logging.getLogger("roost.control")


class Deciding(Protocol):
    """The driver, as far as loads need it."""

    events: EventLog

    def now(self) -> tuple[int, str]: ...

    def state(self, name: str) -> ModelState: ...

    def alert(self, key: str, text: str | None) -> None: ...

    def apply(self, name: str, event: Event) -> Awaitable[ModelState]: ...


class Loads:
    """One server's."""

    def __init__(self, loader: ArtifactLoader, driver: Deciding) -> None:
        self._loader = loader
        self._driver = driver
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    def begin(self, index: int, name: str, artifact: Artifact) -> None:
        """index, name: of the model. Does nothing where this artifact is being loaded for it already."""
        key = (name, artifact.digest)
        if key not in self._running:
            self._running[key] = asyncio.create_task(self._load(index, name, artifact))

    def cancel(self, name: str, digest: str) -> None:
        task = self._running.pop((name, digest), None)
        if task is not None:
            task.cancel()

    def cancel_all(self) -> tuple[asyncio.Task[None], ...]:
        """Those that were running; each ends soon."""
        tasks = tuple(self._running.values())
        for task in tasks:
            task.cancel()
        return tasks

    async def _load(self, index: int, name: str, artifact: Artifact) -> None:
        driver, what = self._driver, f"version {artifact.version} ({artifact.digest[:12]})"
        driver.events.append("loading", f"{what} is being loaded", model=name)
        refusal, unavailable, signer = None, False, ""
        try:
            signer = await self._load_patiently(index, name, artifact)
        except LoadRefused as error:
            refusal, unavailable = str(error), isinstance(error, NotNow)
        except Exception as error:
            log.exception("a load failed in a way that nobody foresaw")
            refusal = f"a fault of ours ({error!r}); the log has more"
        finally:
            key = (name, artifact.digest)
            if self._running.get(key) is asyncio.current_task():  # not one begun since this one was cancelled
                del self._running[key]
        now_ns, at_utc = driver.now()
        if refusal is None:
            signed = f", signed by {signer}" if signer else ""
            driver.events.append("loaded", f"{what} is loaded at every worker{signed}", model=name)
            await driver.apply(name, Loaded(now_ns=now_ns, at_utc=at_utc, digest=artifact.digest))
        else:
            log.warning("%s is refused", what, extra={"fields": {"model": name, "reason": refusal}})
            driver.events.append("load_failed", f"{what} is refused: {refusal}", model=name)
            failed = LoadFailed(
                now_ns=now_ns, at_utc=at_utc, digest=artifact.digest, reason=refusal, unavailable=unavailable
            )
            await driver.apply(name, failed)

    async def _load_patiently(self, index: int, name: str, artifact: Artifact) -> str:
        """What is on trial is refused where it can't be had now; what is to serve is waited for. Who has signed it."""
        alert = f"loading {name}, version {artifact.version}"
        try:
            while True:
                model = self._driver.state(name)
                stable = None if model.stable is None else model.stable.digest
                try:
                    return await self._loader.load(index, name, artifact, stable)
                except NotNow as error:
                    if not is_waited_for(error, artifact, self._driver.state(name)):
                        raise
                    self._driver.alert(alert, f"it waits: {error}")
        finally:
            self._driver.alert(alert, None)
