"""The artifact source: finds versions in the registry and brings their bundles into the cache, verified.

Used by the driver and the operators' service. The registry is opened with the first call, in the thread that asks it:
an MLflow client takes a second to import, and what checks signatures, which is done in a thread too, a third of one.
Always: what the registry does (nothing, for minutes; lie) becomes an ArtifactError or SourceTimeout in bounded time,
and never holds the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from registry_client.attachments import Attachments
from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError, NotInRegistry, VerificationFailed
from registry_client.mlflow_environment import import_client_alone
from registry_client.registry import Registry, Version
from registry_client.tensors import Signature
from server.control.slow_calls import SlowCalls
from server.importing import without_collections
from server.settings import RegistrySettings

FIND_TIMEOUT_S: Final = 30.0
FETCH_TIMEOUT_S: Final = 600.0
CACHE_TIMEOUT_S: Final = 120.0  # hashing a bundle, behind those that are asked for at the same time

Result = TypeVar("Result")


class SourceTimeout(RuntimeError):
    """The registry did not answer in time."""


@dataclass(frozen=True)
class FetchedBundle:
    """What is in the cache now."""

    digest: str
    signature: Signature


class ArtifactSource:
    """One loop's."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._location = settings.location
        self._cache = BundleCache(settings.cache)
        self._signers = settings.signers
        self._registry: Registry | None = None
        self._finding = SlowCalls("registry-find")
        self._fetching = SlowCalls("registry-fetch")
        self._reading = SlowCalls("cache-read")
        self._checking = SlowCalls("signatures")

    @property
    def exists(self) -> bool:
        """False where the server serves files only."""
        return self._location is not None

    async def find(self, name: str, reference: str) -> Version:
        """The version that a number or an alias means now."""
        number = int(reference) if reference.isdigit() else reference
        return await self._find(lambda: self.opened().resolve(name, number))

    async def versions(self, name: str) -> tuple[Version, ...]:
        return await self._find(lambda: self.opened().versions(name))

    async def tags(self, name: str) -> Mapping[str, str]:
        """The model's, among them its rollout document."""
        return await self._find(lambda: self.opened().model_tags(name))

    async def fetch(self, version: Version) -> FetchedBundle:
        """Brings the version's bundle into the cache; verified also where it is there already."""

        def fetch() -> FetchedBundle:
            bundle = self.opened().fetch(version, self._cache)
            return FetchedBundle(bundle.digest, bundle.manifest.signature)

        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return await self._fetching.call(fetch)
        except TimeoutError:
            self._fetching = SlowCalls("registry-fetch")
            raise SourceTimeout(_slow("fetch a bundle", FETCH_TIMEOUT_S)) from None

    async def held(self, name: str, version: str, digest: str) -> FetchedBundle:
        """The bundle of a version whose digest is known: from the cache, else fetched. Raises VerificationFailed where
        the registry gives the version another digest now. What the cache holds waits for no download."""

        def read() -> FetchedBundle:
            bundle = self._cache.get(digest)
            return FetchedBundle(bundle.digest, bundle.manifest.signature)

        try:
            async with asyncio.timeout(CACHE_TIMEOUT_S):
                return await self._reading.call(read)
        except TimeoutError:
            self._reading = SlowCalls("cache-read")
            raise SourceTimeout(
                f"registry.cache: expected it to give a bundle within {CACHE_TIMEOUT_S:g} s, got no answer. "
                "See that its disk is well, then try again."
            ) from None
        except (ArtifactError, OSError):
            found = await self.find(name, version)
        if found.digest != digest:
            raise VerificationFailed(
                f"{name}:{version}", expected=f"digest {digest[:12]}, as it was", got=found.digest[:12],
                hint="The registry has changed it: do not serve it.",
            )  # fmt: skip
        return await self.fetch(found)

    async def signer_of(self, name: str, version: str, digest: str) -> str:
        """Who has signed a bundle that the cache holds; "" where no signature is asked for.

        Its bytes are read and verified once more, and it is their digests that the signature must cover: workers load
        what has these digests, or nothing. Raises SignatureRefused, BadKey, and what the registry's errors become.
        """
        if not self._signers:
            return ""

        def attachments() -> Attachments:
            return self.opened().attachments(name, int(version))

        def check() -> str:
            from registry_client.signing.vouching import open_vouching  # only who asks for signatures needs it

            vouching = open_vouching(self._signers, self._cache)  # each time: a key that was replaced counts at once
            return vouching.signer_of(self._cache.get(digest), version, attachments).name

        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return await self._checking.call(check)
        except TimeoutError:
            self._checking = SlowCalls("signatures")
            raise SourceTimeout(_slow("give a version's signatures", FETCH_TIMEOUT_S)) from None

    async def _find(self, ask: Callable[[], Result]) -> Result:
        try:
            async with asyncio.timeout(FIND_TIMEOUT_S):
                return await self._finding.call(ask)
        except TimeoutError:
            # That thread still waits: the next question gets another one.
            self._finding = SlowCalls("registry-find")
            raise SourceTimeout(_slow("say which versions there are", FIND_TIMEOUT_S)) from None

    def opened(self) -> Registry:
        """The registry itself, for callers that block anyway. Raises ArtifactError."""
        if self._registry is None:
            if self._location is None:
                raise NotInRegistry(
                    "registry", expected="one to take versions from", got="none",
                    hint="This server serves files: start it with --registry to deploy canaries.",
                )  # fmt: skip
            from registry_client.opening import open_registry  # a server of files needs none

            with without_collections():  # MLflow's client is imported
                import_client_alone(self._location)
                self._registry = open_registry(self._location)
        return self._registry


def _slow(what: str, timeout_s: float) -> str:
    return f"registry: expected it to {what} within {timeout_s:g} s, got no answer. See that it is up, then try again."
