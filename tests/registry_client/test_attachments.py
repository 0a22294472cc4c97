"""Files beside a version: the same promises of the folder registry and of MLflow's, and none of them is trusted."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_client import attachments as attachments_module
from registry_client.attachments import ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX, AttachmentFolder
from registry_client.errors import ArtifactError, BadDocument, NotInRegistry, RegistryRefused, VerificationFailed
from registry_client.folder import FolderRegistry
from registry_client.opening import open_registry
from registry_client.registry import Registry
from tests.registry_client.mlflow_place import empty_mlflow
from tests.registry_client.test_both_registries import cache, make, registry  # noqa: F401  # fixtures

Make = Callable[..., Path]


@pytest.fixture(params=["folder", "mlflow"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "registry") if request.param == "folder" else empty_mlflow(tmp_path)


@pytest.fixture
def pushed(registry: Registry, make: Make) -> Registry:  # noqa: F811
    registry.push(make(1))
    return registry


def stored_beside(registry: Registry, tmp_path: Path) -> Path:  # noqa: F811
    """Where this registry keeps what is attached to the one version."""
    if isinstance(registry, FolderRegistry):
        return tmp_path / "registry" / "attachments" / registry.resolve("doubling", 1).digest
    (bundle,) = (tmp_path / "artifacts").rglob("bundle")
    return bundle.parent / "beside"


def test_what_is_attached_comes_back_and_the_version_stays_as_it_is(pushed: Registry, cache) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    before = pushed.resolve("doubling", 1)
    pushed.attach("doubling", 1, "provenance.json", b'{"a":1}')
    pushed.attach("doubling", 1, "empty", b"")
    assert dict(pushed.attachments("doubling", 1)) == {"provenance.json": b'{"a":1}', "empty": b""}
    assert pushed.resolve("doubling", 1) == before
    assert pushed.fetch(before, cache).digest == before.digest


def test_a_version_has_no_attachments_at_first_and_none_of_its_neighbours(pushed: Registry, make: Make) -> None:  # noqa: F811
    assert dict(pushed.attachments("doubling", 1)) == {}
    pushed.push(make(2))
    pushed.attach("doubling", 2, "comparison.json", b"{}")
    assert dict(pushed.attachments("doubling", 1)) == {}
    assert list(pushed.attachments("doubling", 2)) == ["comparison.json"]


def test_an_attachment_is_replaced_by_name(pushed: Registry) -> None:
    for content in (b"a long first one", b"short"):
        pushed.attach("doubling", 1, "comparison.json", content)
    assert dict(pushed.attachments("doubling", 1)) == {"comparison.json": b"short"}


def test_another_client_reads_what_was_attached(pushed: Registry, location: str) -> None:
    pushed.attach("doubling", 1, "a.bin", bytes(range(256)))
    assert open_registry(location).attachments("doubling", 1)["a.bin"] == bytes(range(256))


def test_a_name_that_is_not_flat_is_refused(pushed: Registry) -> None:
    for name in ("../a", "a/b", ".hidden", "", "manifest.json", "manifest.sha256", "a\nb", "x" * 101):
        with pytest.raises(BadDocument, match="attachment: expected a plain file name"):
            pushed.attach("doubling", 1, name, b"x")
    assert dict(pushed.attachments("doubling", 1)) == {}


def test_an_attachment_is_bounded_in_size(pushed: Registry) -> None:
    with pytest.raises(BadDocument, match=f"attachment big: expected at most {ATTACHMENT_BYTES_MAX} bytes"):
        pushed.attach("doubling", 1, "big", b"\0" * (ATTACHMENT_BYTES_MAX + 1))


def test_one_attachment_too_many_is_refused_and_a_replacement_is_not(
    pushed: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments_module, "ATTACHMENTS_MAX", 2)
    pushed.attach("doubling", 1, "a", b"1")
    pushed.attach("doubling", 1, "b", b"1")
    with pytest.raises(RegistryRefused, match="attachment c: expected at most 2 of a version"):
        pushed.attach("doubling", 1, "c", b"1")
    pushed.attach("doubling", 1, "b", b"2")
    assert dict(pushed.attachments("doubling", 1)) == {"a": b"1", "b": b"2"}


def test_what_is_not_there_is_named(pushed: Registry) -> None:
    with pytest.raises(NotInRegistry, match="doubling:7: expected a version of doubling"):
        pushed.attach("doubling", 7, "a", b"")
    with pytest.raises(NotInRegistry, match="doubling:7: expected a version of doubling"):
        pushed.attachments("doubling", 7)
    with pytest.raises(NotInRegistry, match="expected one of the registry's models"):
        pushed.attachments("nobody", 1)
    with pytest.raises(KeyError):
        pushed.attachments("doubling", 1)["a"]


def test_what_others_put_there_is_bounded_when_it_is_read(pushed: Registry, tmp_path: Path) -> None:
    pushed.attach("doubling", 1, "a", b"1")
    folder = stored_beside(pushed, tmp_path)
    (folder / "a").write_bytes(b"12345")
    (folder / "deeper").mkdir()
    (folder / ".left-by-an-editor").write_bytes(b"")
    (folder / "manifest.json").write_bytes(b"")
    found = pushed.attachments("doubling", 1)
    assert "a" in found
    assert found.read("a", 5) == b"12345"
    with pytest.raises(ArtifactError, match="at most 4 bytes"):
        found.read("a", 4)
    (folder / "a").unlink()
    with pytest.raises(NotInRegistry, match="Attach it anew"):
        found.read("a", 5)
    for number in range(ATTACHMENTS_MAX + 1):
        (folder / f"flood-{number}").write_bytes(b"")
    with pytest.raises(VerificationFailed, match=f"attachments of .*: expected at most {ATTACHMENTS_MAX}"):
        pushed.attachments("doubling", 1)


def test_a_link_among_attachments_is_not_followed(tmp_path: Path) -> None:
    folder, digest = AttachmentFolder(tmp_path / "beside"), "0" * 64
    folder.put(digest, "a", b"1")
    (tmp_path / "secret").write_bytes(b"secret")
    os.symlink(tmp_path / "secret", tmp_path / "beside" / digest / "b")
    with pytest.raises(VerificationFailed, match="attachment b: expected a regular file, got a symbolic link"):
        folder.of(digest)["b"]


def test_who_attaches_at_the_same_time_leaves_no_more_than_allowed(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setattr(attachments_module, "ATTACHMENTS_MAX", 3)
    registry = FolderRegistry(tmp_path / "registry")  # noqa: F811
    registry.push(make(1))
    refused = []

    def attach(name: str) -> None:
        try:
            registry.attach("doubling", 1, name, b"x")
        except RegistryRefused:
            refused.append(name)

    threads = [threading.Thread(target=attach, args=(f"file-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.attachments("doubling", 1)) == 3
    assert len(refused) == 5


def test_an_mlflow_version_without_a_run_has_nowhere_to_hold_attachments(tmp_path: Path, make: Make) -> None:  # noqa: F811
    opened = open_registry(empty_mlflow(tmp_path))
    opened.push(make(1))
    client = opened._client  # type: ignore[attr-defined]
    client.create_model_version("doubling", "file:///elsewhere", None, tags={"roost.digest": "0" * 64})
    with pytest.raises(RegistryRefused, match="doubling:2: expected a version of a run"):
        opened.attach("doubling", 2, "a", b"")
