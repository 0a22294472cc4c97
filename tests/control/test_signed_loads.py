"""A server that asks for signatures: what is not signed by one of its signers is refused, and traffic is untouched."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.roost.v1 import admin_pb2
from registry_client.cache import BundleCache
from registry_client.errors import VerificationFailed
from registry_client.folder import FolderRegistry
from registry_client.signing.keys import read_signing_key
from registry_client.signing.signatures import sign, signature_name
from registry_client.signing.vouching import Vouching
from registry_client.verify import read_verified
from server.control.artifact_source import ArtifactSource
from server.control.journal_file import JournalFile
from server.control.loading import ArtifactLoader, NotNow
from server.lifecycle.state import Artifact
from server.settings import Settings
from tests.control.driven_server import NAME, DrivenServer, code_of, new_plane, operation, push, serving, settings_of
from tests.registry_client.signing_keys import Pair, make_pair


class Place:
    """A folder registry with versions, of which some are signed, and keys."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "registry"
        self.release, self.stranger = make_pair(folder, "release"), make_pair(folder, "stranger")

    @property
    def registry(self) -> FolderRegistry:
        return FolderRegistry(self.root)

    @property
    def settings(self) -> Settings:
        plain = settings_of(self.folder)
        signed = plain.registry.model_copy(update={"signers": (self.release.option,)})
        return plain.model_copy(update={"registry": signed})

    def push(self, number: int, *signing: Pair, alias: str | None = None) -> str:
        digest = push(self.root, number, aliases=() if alias is None else (alias,))
        for pair in signing:
            self.attach(number, self.signature(digest, pair), pair)
        return digest

    def signature(self, digest: str, pair: Pair) -> bytes:
        return sign(read_verified(self.root / "bundles" / digest), read_signing_key(pair.private))

    def attach(self, number: int, signature: bytes, pair: Pair) -> None:
        self.registry.attach(NAME, number, signature_name(read_signing_key(pair.private).owner), signature)

    def leaves(self) -> None:
        self.root.rename(self.folder / "registry-gone")
        self.root.touch()  # no folder can be made there


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def deploy(version: int, **fields: Any) -> admin_pb2.DeployCanaryRequest:
    return admin_pb2.DeployCanaryRequest(
        operation=operation(), model=NAME, version=str(version), weight_ppm=50_000, **fields
    )


async def refusal(server: DrivenServer, version: int) -> str:
    """What the operator is told; the route stays."""
    before = server.route
    with pytest.raises(grpc.RpcError) as refused:
        await server.stub.DeployCanary(deploy(version))
    assert code_of(refused.value) == "FAILED_PRECONDITION"
    assert (server.route.stable, server.route.canary, server.route.canary_ppm) == (before.stable, None, 0)
    return str(refused.value.details())


async def test_each_kind_of_missing_signature_is_refused_by_name_everywhere_and_the_good_one_serves(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    stable = place.push(1, place.release, alias="stable")
    unsigned, anothers, strangers = place.push(2), place.push(3), place.push(4, place.stranger)
    place.attach(3, place.signature(stable, place.release), place.release)
    good = place.push(5, place.stranger, place.release)
    fingerprint = hashlib.sha256(place.stranger.public.read_bytes()).hexdigest()
    expected = {
        2: (unsigned, "expected a signature by release, got none: it is unsigned"),
        3: (anothers, "made for other bytes: another bundle's, or a file has changed since"),
        4: (strangers, f"by an unknown key, fingerprint {fingerprint[:16]}"),
    }
    async with serving(place.settings, new_plane(), stable) as server:
        for version, (digest, words) in expected.items():
            said = await refusal(server, version)
            assert said.startswith(f"version {version}: {NAME}:{version} (digest {digest[:12]}): expected a signature")
            assert words in said
            assert "\n" not in said
            assert said.endswith("Traffic was not touched.")
            entry = server.driver.entries[-1]
            assert entry["kind"] == "canary_refused"
            assert words in entry["evidence"]["failure"]
            events = server.driver.events.kept_after(0)
            assert words in [event.text for event in events if event.kind == "load_failed"][-1]
            assert any(words in str(record.__dict__.get("fields")) for record in caplog.records)
            assert digest not in {seat.digest for seat in server.driver.seating.seats()}, "no worker was to load it"
        await server.stub.DeployCanary(deploy(5))
        assert server.digest("canary") == good
        texts = [event.text for event in server.driver.events.kept_after(0) if event.kind == "loaded"]
        assert texts[-1] == f"version 5 ({good[:12]}) is loaded at every worker, signed by release"
        assert await server.driver.keeper.box.drained(5)
    kinds = [line.entry["kind"] for line in JournalFile(place.settings.lifecycle.state).lines()]
    assert kinds.count("canary_refused") == 3


async def test_a_shadow_is_refused_as_a_canary_is(place: Place) -> None:
    stable = place.push(1, place.release, alias="stable")
    place.push(2)
    async with serving(place.settings, new_plane(), stable) as server:
        with pytest.raises(grpc.RpcError) as refused:
            await server.stub.SetShadow(admin_pb2.SetShadowRequest(operation=operation(), model=NAME, version="2"))
        assert "got none: it is unsigned" in str(refused.value.details())
        assert server.digest("shadow") is None


async def test_a_version_that_is_signed_after_it_was_refused_is_taken(place: Place) -> None:
    stable = place.push(1, place.release, alias="stable")
    second = place.push(2)
    async with serving(place.settings, new_plane(), stable) as server:
        await refusal(server, 2)
        place.attach(2, place.signature(second, place.release), place.release)
        await server.stub.DeployCanary(deploy(2))
        assert server.digest("canary") == second


async def test_what_is_to_come_back_after_a_start_must_be_signed_too(place: Place) -> None:
    """Signers were set between two lives: the canary and the home of the first are loaded again, and not trusted."""
    first, second = place.push(1, alias="stable"), place.push(2)
    third = place.push(3, place.release)
    async with serving(settings_of(place.folder), new_plane(), first) as server:
        await server.stub.DeployCanary(deploy(2))
        await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        await server.stub.DeployCanary(deploy(3))
        await server.driver.stop()
    place.attach(2, place.signature(second, place.release), place.release)
    async with serving(place.settings, new_plane(boot=2), second, "2") as server:
        await server.until(lambda: server.digest("canary") == third)
        await server.until(lambda: any(entry["kind"] == "incident" for entry in server.driver.entries))
        (note,) = [entry for entry in server.driver.entries if entry["kind"] == "incident"]
        assert f"{NAME}:1 (digest {first[:12]})" in note["evidence"]["failure"]
        assert "it is unsigned" in note["evidence"]["failure"]
        assert first not in {seat.digest for seat in server.driver.seating.seats()}
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        with pytest.raises(grpc.RpcError, match="last safe version that is loaded"):
            await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        assert server.digest("stable") == second
        await server.driver.stop()


async def test_a_start_without_its_registry_loads_what_was_signed_and_cached(place: Place) -> None:
    first, second = place.push(1, place.release, alias="stable"), place.push(2, place.release)
    async with serving(place.settings, new_plane(), first) as server:
        await server.stub.DeployCanary(deploy(2))
        await server.driver.stop()
    place.leaves()
    async with serving(place.settings, new_plane(boot=2), first) as server:
        await server.until(lambda: server.digest("canary") == second)


async def test_signatures_are_checked_off_the_loop_and_a_registry_that_hangs_is_given_up(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = place.push(1, place.release)
    source = ArtifactSource(place.settings.registry)
    await source.held(NAME, "1", digest)
    assert await source.signer_of(NAME, "1", digest) == "release"
    assert await ArtifactSource(settings_of(place.folder).registry).signer_of(NAME, "1", digest) == ""
    over = threading.Event()
    threads: list[str] = []

    def hang(*_: object) -> None:
        threads.append(threading.current_thread().name)
        over.wait()

    monkeypatch.setattr(Vouching, "signer_of", hang)
    monkeypatch.setattr("server.control.artifact_source.FETCH_TIMEOUT_S", 0.05)
    with pytest.raises(RuntimeError, match="expected it to give a version's signatures within"):
        await source.signer_of(NAME, "1", digest)
    over.set()
    assert threads == ["signatures"]


async def test_a_key_that_is_gone_when_it_is_needed_is_the_servers_fault_and_no_versions(place: Place) -> None:
    """Else a server that goes home would forget one safe version after the other."""
    digest = place.push(1, place.release)
    place.release.public.unlink()
    source = ArtifactSource(place.settings.registry)
    loader = ArtifactLoader(source, None, None, place.settings.trial, None)
    with pytest.raises(NotNow, match=r"registry\.signers: release: expected a P-256 public key as PEM, got No such"):
        await loader._cached(NAME, Artifact("1", digest))


async def test_a_damaged_cache_is_mended_before_its_signature_counts(place: Place) -> None:
    digest = place.push(1, place.release)
    source = ArtifactSource(place.settings.registry)
    await source.held(NAME, "1", digest)
    model = BundleCache(place.settings.registry.cache).path(digest) / "model.onnx"
    model.write_bytes(model.read_bytes() + b" ")
    with pytest.raises(VerificationFailed, match=r"model\.onnx"):
        await source.signer_of(NAME, "1", digest)
    await source.held(NAME, "1", digest)
    assert await source.signer_of(NAME, "1", digest) == "release"
