"""Loading an artifact: the bundle into the cache, its signature, the trial, a seat, and every worker ready.

Used by the driver for each `Load`. Always: what can't fit, or fails anywhere, raises LoadRefused with a reason in one
line, before a route names it; its seat is given back then. A cancelled load gives back what it took. What can't be
fetched again and again is given up more and more slowly, so that whoever asks again at once asks seldom.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from registry_client.errors import (
    ArtifactError,
    BadKey,
    MissingLibrary,
    NotInRegistry,
    RegistryRefused,
    RegistryUnavailable,
)
from server.control.artifact_source import ArtifactSource, SourceTimeout
from server.control.incidents import IncidentWatch
from server.control.seating import NoSeat, Seating, Standing
from server.lifecycle.state import Artifact, ModelState
from server.settings import TrialSettings

log = logging.getLogger("roost.control")

POLL_S: Final = 0.02
SEAT_WAIT_S: Final = 15.0  # for a seat that is being emptied
FETCH_PAUSE_S: Final = 0.5  # before the second failure in a row is told, twice as long before each that follows
FETCH_PAUSE_S_MAX: Final = 30.0
FETCH_DOUBLINGS_MAX: Final = 10
FETCH_ERRORS: Final = (NotInRegistry, RegistryRefused, RegistryUnavailable, SourceTimeout, OSError)


class LoadRefused(RuntimeError):
    """Why the artifact can't be served, in one line."""


class NotNow(LoadRefused):
    """No fault of the artifact's: it may well be asked for again."""


class NoWorkers(NotNow):
    """Nobody serves who could hold it."""


class NotFetched(NotNow):
    """It is not in the cache, and the registry or the disk does not give it now."""


def is_waited_for(error: NotNow, artifact: Artifact, model: ModelState) -> bool:
    """What is to serve is waited for. What is on trial is refused; what is coming and can't be fetched makes room for
    another one, which may be in the cache."""
    if artifact in model.on_trial:
        return False
    return not (isinstance(error, NotFetched) and artifact == model.coming)


@dataclass(frozen=True)
class TrialOutcome:
    """ok: False with the reason, in one line. rss_bytes: what it took to hold the artifact."""

    ok: bool
    reason: str = ""
    rss_bytes: int = 0


@dataclass(frozen=True)
class TrialTask:
    """What is to be tried: an artifact of the cache. stable_digest: whose signature it must have; None where any."""

    name: str
    artifact: Artifact
    stable_digest: str | None


TryArtifact = Callable[[TrialTask], Awaitable[TrialOutcome]]


class ArtifactLoader:
    """One server's."""

    def __init__(
        self,
        source: ArtifactSource,
        seating: Seating,
        incidents: IncidentWatch,
        settings: TrialSettings,
        try_artifact: TryArtifact,
    ) -> None:
        self._source = source
        self._seating = seating
        self._incidents = incidents
        self._settings = settings
        self._try_artifact = try_artifact
        self._not_fetched: Counter[str] = Counter()  # how often in a row, by digest

    async def load(self, model: int, name: str, artifact: Artifact, stable_digest: str | None) -> str:
        """Returns once every worker that serves holds it: who has signed it, "" where that was not asked for. Raises
        LoadRefused, NoWorkers where none did in time, NotFetched where neither cache nor registry gave it."""
        signer = ""
        if self._seating.find(model, artifact.digest) is None:
            signer = await self._cached(name, artifact)
            await self._tried(TrialTask(name, artifact, stable_digest))
        try:
            await self._seated(model, artifact)
        except BaseException:
            self._seating.give_back(model, artifact.digest)
            raise
        return signer

    async def _cached(self, name: str, artifact: Artifact) -> str:
        """Brings it into the cache, and finds out who has signed it, before anything of it is opened."""
        try:
            await self._source.held(name, artifact.version, artifact.digest)
            signer = await self._source.signer_of(name, artifact.version, artifact.digest)
        except FETCH_ERRORS as error:
            failures = self._not_fetched[artifact.digest]
            self._not_fetched[artifact.digest] += 1
            if failures:
                await asyncio.sleep(min(FETCH_PAUSE_S * 2 ** min(failures - 1, FETCH_DOUBLINGS_MAX), FETCH_PAUSE_S_MAX))
            raise NotFetched(str(error)) from error
        except (BadKey, MissingLibrary) as error:
            # The server's own fault, and no version's: to forget them for it would leave nothing to go home to.
            raise NotFetched(str(error)) from error
        except ArtifactError as error:
            raise LoadRefused(str(error)) from error
        self._not_fetched.clear()  # they answer again
        return signer

    async def _tried(self, task: TrialTask) -> None:
        outcome = await self._try_artifact(task)
        if not outcome.ok:
            raise LoadRefused(outcome.reason)
        limit, held = self._settings.worker_memory_bytes_max, self._incidents.largest_bytes()
        if held + outcome.rss_bytes > limit:
            raise LoadRefused(
                f"memory: expected at most {limit} bytes in a worker (trial.worker_memory_bytes_max), got {held} in "
                f"use and {outcome.rss_bytes} more for this version. Raise the limit, or take something out."
            )

    async def _seated(self, model: int, artifact: Artifact) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + SEAT_WAIT_S
        while True:
            try:
                seat = self._seating.take(model, artifact.version, artifact.digest)
                break
            except NoSeat as error:
                if loop.time() >= until:
                    raise LoadRefused(f"seats: {error}") from error
                await asyncio.sleep(POLL_S)
        until = loop.time() + self._settings.load_timeout_s
        while True:
            if self._seating.banned(model, artifact.digest):
                raise LoadRefused("a worker ended while it loaded or ran this version")
            holding = self._seating.holding(seat)
            if holding.standing is Standing.READY:
                return
            if holding.standing is Standing.FAILED:
                raise LoadRefused(holding.failure)
            if loop.time() >= until and not holding.serving:
                raise NoWorkers(
                    f"workers: expected one that serves within {self._settings.load_timeout_s:g} s "
                    "(trial.load_timeout_s), got none. See /health/ready and the workers' log; ask again when "
                    "they serve."
                )
            if loop.time() >= until:
                raise LoadRefused(
                    f"workers: expected all to hold it within {self._settings.load_timeout_s:g} s "
                    f"(trial.load_timeout_s), got {holding.ready} of {holding.serving}."
                )
            await asyncio.sleep(POLL_S)
