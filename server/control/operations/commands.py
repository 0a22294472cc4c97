"""What operators ask for, carried out: from a request's plain values to the driver's events.

Used by the operators' service. Always: everything that can be refused is refused before anything is fetched or
changed; a deploy that is waited for answers when the version has its traffic, or with the reason why it has not.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any, Final

import grpc

from registry_client.errors import ArtifactError, NotInRegistry, RegistryUnavailable
from registry_client.registry import Version
from server.control.artifact_source import FetchedBundle, SourceTimeout
from server.control.driver import Driver, Served
from server.control.operations.fields import DIGEST_LENGTH, Who
from server.control.operations.refusal import OperationRefused, bad_field, refused, shown
from server.control.signatures import difference
from server.lifecycle import events
from server.lifecycle.plan import DEFAULT_PLAN, BadPlan, Plan, constant, read_plan
from server.lifecycle.refusal import Refused, StaleRevision
from server.lifecycle.state import Artifact, ModelState
from server.lifecycle.step import step

SALT_BITS: Final = 63
FOLLOW_WAIT_S: Final = 0.5
FOLLOW_POLL_S: Final = 0.002

Make = Callable[..., events.Request]


class Commands:
    """One server's."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def served(self, name: str) -> Served:
        """Raises the refusal for a model that is not served."""
        served = self._driver.models.get(name)
        if served is None:
            known = ", ".join(self._driver.models) or "none"
            raise refused(
                grpc.StatusCode.NOT_FOUND, "model", expected=f"one that is served ({known})", got=shown(name),
                hint="`roost status`, or ListModels, lists them.",
            )  # fmt: skip
        return served

    async def ask(self, name: str, who: Who, request: str, make: Make, **values: Any) -> ModelState:
        """One event. request: its fingerprint. Returns once the workers follow."""
        self.served(name)
        event = self._event(make, who, **values)
        try:
            state = await self._driver.apply(name, event, request, who.if_revision)
        except Refused as refusal:
            raise _said(refusal) from refusal
        except StaleRevision as stale:
            raise _stale(name, stale) from stale
        await self._followed()
        return state

    async def deploy(
        self, name: str, reference: str, plan: Plan, who: Who, request: str, *, wait: bool, digest: str = ""
    ) -> ModelState:
        """digest: what the version must be; "" for whatever the registry says it is."""
        served = self.served(name)
        artifact, version = await self._found(served, reference)
        if digest not in ("", artifact.digest):
            raise refused(
                grpc.StatusCode.FAILED_PRECONDITION, "digest", expected=f"{digest}, as was asked for",
                got=f"{artifact.digest} in this server's registry", hint="Check that both mean the same registry.",
            )  # fmt: skip
        values = {
            "artifact": artifact, "plan": plan, "rollout_id": secrets.token_hex(8), "salt": secrets.randbits(SALT_BITS),
        }  # fmt: skip
        self._try(name, who, events.DeployCanary, values)
        await self._fits(served, version)
        state = await self.ask(name, who, request, events.DeployCanary, **values)
        if not wait:
            return state

        def begun(now: ModelState) -> bool:
            canary = now.canary
            return canary is None or canary.id != values["rollout_id"] or canary.started

        return await self._until(name, begun, artifact, "canary_refused")

    async def shadow(self, name: str, reference: str, who: Who, request: str, *, wait: bool) -> ModelState:
        served = self.served(name)
        if not reference:
            return await self.ask(name, who, request, events.SetShadow, artifact=None)
        artifact, version = await self._found(served, reference)
        self._try(name, who, events.SetShadow, {"artifact": artifact})
        await self._fits(served, version)
        state = await self.ask(name, who, request, events.SetShadow, artifact=artifact)
        if not wait:
            return state

        def begun(now: ModelState) -> bool:
            return now.shadow != artifact or now.shadow_started

        return await self._until(name, begun, artifact, "shadow_refused")

    async def rollback(self, name: str, who: Who, request: str, *, quarantine: bool) -> ModelState:
        self.served(name)
        model = self._driver.state(name)
        leaving = model.canary.artifact if model.canary is not None else model.stable
        if model.canary is None and model.last_safe is not None and model.last_safe.digest not in model.ready:
            raise refused(
                grpc.StatusCode.FAILED_PRECONDITION, "model", expected="a last safe version that is loaded",
                got="one that is being loaded", hint="Try again in a moment.",
            )  # fmt: skip
        if quarantine and model.canary is None and model.last_safe is None:
            raise refused(
                grpc.StatusCode.FAILED_PRECONDITION, "model",
                expected="a canary, or a last safe version to go back to", got="neither",
                hint="Deploy the version that you want as a canary; `roost quarantine` takes the stable one out "
                "although nothing may serve then.",
            )  # fmt: skip
        if quarantine and leaving is not None:
            return await self.ask(name, who, request, events.Quarantine, digest=leaving.digest)
        return await self.ask(name, who, request, events.Rollback)

    def digest_of(self, prefix: str, name: str, *, in_quarantine: bool) -> tuple[str, tuple[str, ...]]:
        """The digest that a prefix means, and the models that it is about. Raises the refusal."""
        names = (self.served(name).name,) if name else tuple(self._driver.models)
        found: dict[str, list[str]] = {}
        for one in names:
            for digest in self._digests(one, in_quarantine=in_quarantine):
                if digest.startswith(prefix):
                    found.setdefault(digest, []).append(one)
        if len(found) == 1:
            digest, models = next(iter(found.items()))
            return digest, tuple(models)
        if len(found) > 1:
            raise bad_field("digest", expected="one digest", got=f"{shown(prefix)}, with which {len(found)} begin",
                            hint="Give more digits.")  # fmt: skip
        if len(prefix) == DIGEST_LENGTH and name and not in_quarantine:
            return prefix, names  # not seen yet: it will be refused when it comes
        where = "in quarantine" if in_quarantine else "that a model has or the registry holds"
        raise refused(
            grpc.StatusCode.NOT_FOUND, "digest", expected=f"one {where}", got=shown(prefix),
            hint="`roost status` lists them. One that no model knows yet: name the model, and give all 64 digits.",
        )  # fmt: skip

    def knowing(self, prefix: str) -> list[str]:
        """The models that know such a digest, in whichever place."""
        known = {name: self._digests(name, in_quarantine=False) for name in self._driver.models}
        return [name for name, digests in known.items() if any(digest.startswith(prefix) for digest in digests)]

    def _digests(self, name: str, *, in_quarantine: bool) -> set[str]:
        model = self._driver.state(name)
        if in_quarantine:
            return set(model.quarantine)
        return set(model.needed) | {artifact.digest for artifact in model.known} | set(model.quarantine)

    # --- Before anything is changed ----------------------------------------------------------------------------------
    def _event(self, make: Make, who: Who, **values: Any) -> events.Request:
        now_ns, at_utc = self._driver.now()
        return make(
            now_ns=now_ns, at_utc=at_utc, operator=who.operator, reason=who.reason, request_id=who.request_id, **values
        )

    def _try(self, name: str, who: Who, make: Make, values: dict[str, Any]) -> None:
        """What would be refused is refused now, before minutes of fetching."""
        model = self._driver.state(name)
        if who.if_revision is not None and who.if_revision != model.revision:
            raise _stale(name, StaleRevision(who.if_revision, model.revision))
        event = self._event(make, who, **values)
        try:
            self._driver.keeper.check(model, event)
            step(model, event)
        except Refused as refusal:
            raise _said(refusal) from refusal

    async def _found(self, served: Served, reference: str) -> tuple[Artifact, Version]:
        if not served.in_registry:
            raise refused(
                grpc.StatusCode.FAILED_PRECONDITION, "model", expected="one from a registry",
                got=f"{served.name}, which is served from a file",
                hint="Push its versions to a registry, and start the server with --registry.",
            )  # fmt: skip
        version = await _asked(self._driver.source.find(served.name, reference), "version")
        return Artifact(str(version.version), version.digest), version

    async def _fits(self, served: Served, version: Version) -> None:
        """Into the cache, verified, with the stable one's signature."""
        bundle: FetchedBundle = await _asked(self._driver.source.fetch(version), "version")
        stable = self._driver.state(served.name).stable
        if stable is None:
            return
        beside: FetchedBundle = await _asked(
            self._driver.source.held(served.name, stable.version, stable.digest), "stable"
        )
        found = difference(beside.signature, bundle.signature)
        if found is not None:
            raise refused(
                grpc.StatusCode.FAILED_PRECONDITION, f"version {version.version}: {found.field}",
                expected=f"{found.expected} as in the stable version {stable.version}", got=found.got,
                hint="Callers could not be moved to it. Serve it under another name.",
            )  # fmt: skip

    # --- Afterwards --------------------------------------------------------------------------------------------------
    async def _until(
        self, name: str, done: Callable[[ModelState], bool], artifact: Artifact, refusal: str
    ) -> ModelState:
        while not done(self._driver.state(name)):
            await self._driver.changed()
        entry = self._driver.last_entries.get(name, {})
        if entry.get("kind") == refusal:
            evidence = entry.get("evidence") or {}
            reason = evidence.get("failure", "it can't be served")
            raise OperationRefused(
                grpc.StatusCode.UNAVAILABLE if evidence.get("unavailable") else grpc.StatusCode.FAILED_PRECONDITION,
                f"version {artifact.version}: {reason} Traffic was not touched.",
            )
        now = self._driver.state(name)
        places = (now.canary.artifact if now.canary is not None else None, now.shadow, now.stable)
        if not any(place is not None and place.digest == artifact.digest for place in places):
            # Thrown out while it was loaded: by what it did to a worker, or by another operator.
            raise OperationRefused(
                grpc.StatusCode.ABORTED,
                f"version {artifact.version}: it was taken back before it had a share. `roost explain` says why.",
            )
        await self._followed()
        return now

    async def _followed(self) -> None:
        """The workers that serve follow at once, idle ones within 20 ms; one that hangs is not waited for."""
        loop = asyncio.get_running_loop()
        until, epoch = loop.time() + FOLLOW_WAIT_S, self._driver.publisher.epoch
        while not self._driver.publisher.following(epoch) and loop.time() < until:
            await asyncio.sleep(FOLLOW_POLL_S)


def read_wanted_plan(weight_ppm: int | None, plan_json: str) -> Plan:
    """A weight without a plan, a plan, or the default one. Raises the refusal."""
    if weight_ppm is not None and plan_json:
        raise bad_field("plan_json", expected="a plan or a weight", got="both", hint="A plan has its weights.")
    if weight_ppm is not None:
        return constant(weight_ppm)
    if not plan_json:
        return DEFAULT_PLAN
    try:
        return read_plan(json.loads(plan_json))
    except BadPlan as bad:
        raise OperationRefused(grpc.StatusCode.INVALID_ARGUMENT, str(bad)) from bad
    except (ValueError, RecursionError) as error:
        raise bad_field("plan_json", expected="JSON", got=shown(str(error)), hint="See the page on plans.") from error


async def _asked(answer: Any, field: str) -> Any:
    """What the registry or the cache answers, its errors as refusals."""
    try:
        return await answer
    except NotInRegistry as error:
        raise OperationRefused(grpc.StatusCode.NOT_FOUND, f"{field}: {error}") from error
    except (RegistryUnavailable, SourceTimeout, OSError) as error:
        raise OperationRefused(grpc.StatusCode.UNAVAILABLE, f"{field}: {error}") from error
    except ArtifactError as error:
        raise OperationRefused(grpc.StatusCode.FAILED_PRECONDITION, f"{field}: {error}") from error


def _said(refusal: Refused) -> OperationRefused:
    return OperationRefused(grpc.StatusCode[refusal.why.value], str(refusal))


def _stale(name: str, stale: StaleRevision) -> OperationRefused:
    return refused(
        grpc.StatusCode.ABORTED, "operation.if_revision", expected=f"{stale.current}, the current one of {name}",
        got=str(stale.expected), hint="Look at what has changed, then ask again.",
    )  # fmt: skip
