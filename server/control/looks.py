"""Looks: what the driver finds out by itself, a few times a second: evidence, incidents, time, the registry's versions.

Tasks of the control process. Always: a look that fails is logged and the next one is taken; a slow or absent registry
makes only the look at the registry rarer.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from registry_client.errors import ArtifactError
from registry_client.registry import Version
from server.control.artifact_source import SourceTimeout
from server.control.driver import Driver, Served
from server.control.incidents import Incident, IncidentKind
from server.control.judging import Look, look, policy_of
from server.control.registry_projection import fleets_quarantine
from server.judgement.verdicts import Verdict
from server.lifecycle import events
from server.lifecycle.refusal import Refused
from server.lifecycle.state import Artifact, ModelState

log = logging.getLogger("roost.control")

EVIDENCE_KEPT_EVERY_S: Final = 2.0
REGISTRY_WAIT_MAX_S: Final = 60.0
KNOWN_MAX: Final = 50
AGAIN_S_MIN: Final = 10.0
AGAIN_S_MAX: Final = 600.0
ROLLBACK_IS_OFF: Final = "lifecycle.auto_rollback is off"


@dataclass
class _Told:
    """What a model was told of the registry's versions. due_s: when it is told again, though nothing has changed.

    With nothing that serves or is coming, what was refused once is tried again, each time after twice as long: it may
    have been a full disk, or memory that is free by now.
    """

    known: tuple[Artifact, ...] | None = None
    wait_s: float = AGAIN_S_MIN
    due_s: float | None = None

    def is_due(self, model: ModelState, now_s: float) -> bool:
        if model.stable is not None:
            self.wait_s = AGAIN_S_MIN
        if model.stable is not None or model.coming is not None:
            self.due_s = None
            return False
        if self.due_s is None:
            self.due_s = now_s + self.wait_s
        if now_s < self.due_s:
            return False
        self.wait_s, self.due_s = min(2 * self.wait_s, AGAIN_S_MAX), None
        return True


class Looks:
    """Call `run`."""

    def __init__(self, driver: Driver, random_: random.Random | None = None) -> None:
        self._driver = driver
        self._policy = policy_of(driver.settings.judgement)
        self._random = random_ or random.Random()
        self._kept_at_s = 0.0
        self._kept_evidence = b""
        self._said_banned: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """For ever."""
        for served in self._driver.models.values():
            self._recall(served.name)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._often())
            for served in self._driver.models.values():
                if served.in_registry:
                    group.create_task(self._at_registry(served))

    async def _often(self) -> None:
        period_s = self._driver.settings.judgement.look_ms / 1000
        while True:
            await asyncio.sleep(period_s)
            try:
                await self.once()
            except Exception:
                log.exception("a look failed")

    async def once(self) -> None:
        """One look at everything in the plane."""
        for found in tuple(self._driver.incidents.look()):
            await self._tell(found)
        self._driver.collect()
        for served in self._driver.models.values():
            await self._banned(served)
            await self._judge(served)
        self._keep_evidence()

    # --- Canaries ----------------------------------------------------------------------------------------------------
    def _recall(self, name: str) -> None:
        """What the last process saw of a canary whose end is the last entry, from the evidence that was kept."""
        entry = self._driver.last_entries.get(name, {})
        ended = (entry.get("from") or {}).get("canary")
        if ended and self._driver.book.records(name, ended["digest"]):
            epoch = self._driver.route(name).weight_epoch
            seen = look(self._driver.book, self._policy, name, ended["digest"], ended["version"], epoch)
            self._driver.last_looks.setdefault(name, seen)

    async def _judge(self, served: Served) -> None:
        driver, name = self._driver, served.name
        model = driver.state(name)
        now_ns, at_utc = driver.now()
        if model.canary is None or not model.canary.started:
            driver.alert(f"{name}: worse", None)
            await driver.apply(name, events.Tick(now_ns=now_ns, at_utc=at_utc))
            return
        artifact = model.canary.artifact
        epoch = driver.route(name).weight_epoch
        seen = look(driver.book, self._policy, name, artifact.digest, artifact.version, epoch)
        self._note_change(name, seen)
        driver.looks[name] = driver.last_looks[name] = seen
        verdict = seen.judgement.verdict
        withheld = "" if driver.settings.lifecycle.auto_rollback else ROLLBACK_IS_OFF
        driver.alert(f"{name}: worse", _held(artifact) if withheld and verdict is Verdict.WORSE else None)
        judged = events.Judged(
            now_ns=now_ns,
            at_utc=at_utc,
            digest=artifact.digest,
            verdict=verdict.value,
            requests=seen.step_requests,
            evidence={"judgement": seen.to_dict()},
            withheld=withheld,
        )
        await driver.apply(name, judged)

    def _note_change(self, name: str, seen: Look) -> None:
        before = self._driver.looks.get(name)
        verdict = seen.judgement.verdict
        if before is None or before.digest != seen.digest or before.judgement.verdict is not verdict:
            text = f"version {seen.version} after {seen.judgement.canary_requests} requests: {verdict.value}"
            self._driver.events.append("verdict", text, model=name, detail=seen.to_dict())

    def _keep_evidence(self) -> None:
        if time.monotonic() - self._kept_at_s < EVIDENCE_KEPT_EVERY_S:
            return
        self._kept_at_s = time.monotonic()
        data = self._driver.book.encode()
        if data != self._kept_evidence:
            self._kept_evidence = data
            self._driver.evidence_box.put("evidence", data)

    # --- Incidents ---------------------------------------------------------------------------------------------------
    async def _tell(self, found: Incident) -> None:
        driver = self._driver
        if found.kind is IncidentKind.MEMORY:
            victim = self._youngest_on_trial()
            if victim is None:
                log.error("%s, and no canary is loaded that could leave", found.detail)
                driver.events.append("incident", found.detail)
                return
            name, digest = victim
        else:
            seat = driver.seating.named(found.seat, found.generation)
            names = {one.index: one.name for one in driver.models.values()}
            if seat is None or seat.model not in names:
                log.warning("%s; what ran is not known", found.detail)
                driver.events.append("incident", found.detail)
                return
            name, digest = names[seat.model], seat.digest
        await self._incident(name, digest, found.detail)

    async def _banned(self, served: Served) -> None:
        """Crashes while no control process lived: the parent remembers them in the plane."""
        for artifact in _on_trial(self._driver.state(served.name)):
            key = served.name, artifact.digest
            if not self._driver.seating.banned(served.index, artifact.digest):
                self._said_banned.discard(key)
            elif key not in self._said_banned:  # said once: frozen, it stays where it is until somebody decides
                self._said_banned.add(key)
                await self._incident(served.name, artifact.digest, "a worker ended in a run of this version")

    async def _incident(self, name: str, digest: str, detail: str) -> None:
        now_ns, at_utc = self._driver.now()
        self._driver.events.append("incident", f"{digest[:12]}: {detail}", model=name)
        await self._driver.apply(name, events.Incident(now_ns=now_ns, at_utc=at_utc, digest=digest, detail=detail))

    def _youngest_on_trial(self) -> tuple[str, str] | None:
        """What began to take memory last."""
        found: tuple[int, str, str] | None = None
        for name in self._driver.models:
            model = self._driver.state(name)
            if model.canary is not None and model.canary.started:
                since = (model.canary.step_started_ns, name, model.canary.artifact.digest)
                found = max(found, since) if found is not None else since
            elif model.shadow is not None and model.shadow_started and found is None:
                found = (0, name, model.shadow.digest)
        return None if found is None else (found[1], found[2])

    # --- The registry ------------------------------------------------------------------------------------------------
    async def _at_registry(self, served: Served) -> None:
        period_s = self._driver.settings.registry.poll_s
        wait_s, told = period_s, _Told()
        while True:
            try:
                versions = await self._driver.source.versions(served.name)
                tags = await self._driver.source.tags(served.name)
                await self._tell_known(served.name, versions, told)
                await self._follow_fleet(served.name, tags)
                self._driver.alert(f"registry of {served.name}", None)
                wait_s = period_s
            except (ArtifactError, SourceTimeout, OSError) as error:
                self._driver.alert(f"registry of {served.name}", str(error))
                wait_s = min(2 * wait_s, max(REGISTRY_WAIT_MAX_S, period_s))
            except Exception as error:  # a client of somebody else's: it may raise anything
                log.exception("a look at the registry failed")
                self._driver.alert(f"registry of {served.name}", repr(error))
                wait_s = min(2 * wait_s, max(REGISTRY_WAIT_MAX_S, period_s))
            await asyncio.sleep(wait_s * self._random.uniform(0.75, 1.25))

    async def _tell_known(self, name: str, versions: tuple[Version, ...], told: _Told) -> None:
        newest = sorted(versions, key=lambda version: version.version, reverse=True)[:KNOWN_MAX]
        known = tuple(Artifact(str(version.version), version.digest) for version in newest)
        self._driver.aliases[name] = {str(version.version): version.aliases for version in versions}
        due = told.is_due(self._driver.state(name), time.monotonic())
        if known != told.known or due:
            now_ns, at_utc = self._driver.now()
            await self._driver.apply(name, events.Known(now_ns=now_ns, at_utc=at_utc, artifacts=known))
        told.known = known

    async def _follow_fleet(self, name: str, tags: Mapping[str, str]) -> None:
        """What another server of the fleet has found to be bad is bad here, too."""
        if self._driver.state(name).frozen:
            return
        for digest, why in fleets_quarantine(tags, self._driver.kept(name)).items():
            now_ns, at_utc = self._driver.now()
            request = events.Quarantine(
                now_ns=now_ns, at_utc=at_utc, operator="registry", reason=why or "in quarantine elsewhere",
                request_id="", digest=digest,
            )  # fmt: skip
            try:
                await self._driver.apply(name, request)
            except Refused:
                continue  # it was put there meanwhile


def _on_trial(model: ModelState) -> tuple[Artifact, ...]:
    canary = model.canary.artifact if model.canary is not None else None
    return tuple(artifact for artifact in (canary, model.shadow) if artifact is not None)


def _held(artifact: Artifact) -> str:
    return (
        f"version {artifact.version} is worse than the stable one, and {ROLLBACK_IS_OFF}. Its plan waits. Take it "
        "back with Rollback"
    )
