"""MLflow's registry where its server answers nonsense or its store holds too much: one line, in bounds, no password."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import FileInfo

from registry_client import mlflow_artifacts
from registry_client.cache import BundleCache
from registry_client.errors import (
    ArtifactError,
    BadDocument,
    NotInRegistry,
    RegistryRefused,
    RegistryUnavailable,
    VerificationFailed,
)
from registry_client.manifest import BUNDLE_BYTES_MAX, FILES_MAX
from registry_client.mlflow_artifacts import ArtifactFolder
from registry_client.mlflow_registry import DIGEST_TAG, MlflowRegistry
from registry_client.opening import open_registry
from registry_client.registry import Version
from registry_client.tracking_uri import without_passwords

DIGEST = "0" * 64
PASSWORD = "pass-3141"


class Liar:
    """A server that gives one answer to everything."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"{}"
        liar = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(liar.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(liar.body)))
                self.end_headers()
                self.wfile.write(liar.body)

            do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *arguments: object) -> None:
                """Nothing: the tests look at what Roost says."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def says(self, body: object, status: int = 200) -> None:
        self.status = status
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Liar]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    liar = Liar()
    thread = threading.Thread(target=liar.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield liar
    liar.server.shutdown()
    thread.join()
    liar.server.server_close()


@pytest.fixture
def registry(liar: Liar) -> MlflowRegistry:
    opened = open_registry(f"http://eva:{PASSWORD}@127.0.0.1:{liar.server.server_port}")
    assert isinstance(opened, MlflowRegistry)
    return opened


ASKED: dict[str, Callable[[MlflowRegistry, Path], object]] = {
    "names": lambda registry, _: registry.names(),
    "versions": lambda registry, _: registry.versions("doubling"),
    "resolve by alias": lambda registry, _: registry.resolve("doubling", "@stable"),
    "resolve by number": lambda registry, _: registry.resolve("doubling", 1),
    "model_tags": lambda registry, _: registry.model_tags("doubling"),
    "set_model_tag": lambda registry, _: registry.set_model_tag("doubling", "key", "value"),
    "set_alias": lambda registry, _: registry.set_alias("doubling", "stable", 1),
    "remove_alias": lambda registry, _: registry.remove_alias("doubling", "stable"),
    "fetch": lambda registry, folder: registry.fetch(
        Version("doubling", 1, DIGEST, (), {}), BundleCache(folder / "cache")
    ),
}


def version(name: str, number: str) -> dict[str, Any]:
    return {"name": name, "version": number, "tags": [{"key": DIGEST_TAG, "value": DIGEST}]}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>Welcome", 200),
        (b"\xff\xfe", 200),
        ([], 200),
        ({"registered_model": 7, "registered_models": 7}, 200),
        ({"registered_model": {"name": "doubling", "aliases": [{"alias": "stable", "version": "x"}]}}, 200),
        ({"model_version": version("doubling", "one"), "model_versions": [version("doubling", "one")]}, 200),
        (b"oh", 500),
        (b"", 503),
        (b"who are you?", 401),
        (b"<html>nginx", 404),
        ({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}, 404),
    ],
)
def test_an_answer_that_means_nothing_is_a_refusal_without_the_password(
    liar: Liar, registry: MlflowRegistry, tmp_path: Path, asked: str, body: object, status: int
) -> None:
    liar.says(body, status)
    refusal = refusal_of(lambda: ASKED[asked](registry, tmp_path))
    assert PASSWORD not in refusal
    assert len(refusal) < 1000
    # A status that says no is heard, and nothing is ever fetched; the rest of an answer may happen to make sense.
    assert refusal or (status == 200 and asked != "fetch")


def refusal_of(ask: Callable[[], object]) -> str:
    try:
        ask()
    except ArtifactError as refusal:
        return str(refusal)
    return ""


def test_who_is_down_and_who_says_no_are_told_apart(liar: Liar, registry: MlflowRegistry) -> None:
    for body, status, refused in ((b"", 503, RegistryUnavailable), (b"<html>", 200, RegistryUnavailable),
                                  (b"no", 401, RegistryRefused)):  # fmt: skip
        liar.says(body, status)
        with pytest.raises(refused):
            registry.names()


def test_another_version_than_the_one_asked_for_is_refused(liar: Liar, registry: MlflowRegistry) -> None:
    for name, number in (("other", "1"), ("doubling", "2")):
        liar.says({"model_version": version(name, number), "registered_model": {"name": name}})
        with pytest.raises(VerificationFailed, match=f"doubling:1: expected the registry to speak of it, got {name}:"):
            registry.resolve("doubling", 1)


def test_versions_of_other_models_are_not_listed(liar: Liar, registry: MlflowRegistry) -> None:
    liar.says({"model_versions": [version("other", "1"), version("doubling", "2")], "registered_model": {"name": "d"}})
    assert [found.version for found in registry.versions("doubling")] == [2]


def test_a_hint_names_no_password(liar: Liar, registry: MlflowRegistry) -> None:
    liar.says({"model_version": {"name": "doubling", "version": "1"}})
    with pytest.raises(NotInRegistry, match=r"roost adopt models:/doubling/1 --registry http://eva:\*\*\*@127"):
        registry.resolve("doubling", 1)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p%40ss@h/db is down", "postgresql://u:***@h/db is down"),
        ("http://:p@h http://u:q@i", "http://:***@h http://u:***@i"),
        ("http://h:5000/a@b", "http://h:5000/a@b"),
        ("postgresql://u:pa/ss@h/db?sslmode=require", "postgresql://u:***@h/db?sslmode=require"),
        ("postgresql://h/db?user=u&password=geheim, gone", "postgresql://h/db?user=u&password=*** gone"),
        ("https://ghp_0123@h/ml", "https://***@h/ml"),
        ("sqlite:////tmp/a:b@c.db", "sqlite:////tmp/a:b@c.db"),
    ],
)
def test_only_a_password_is_hidden(text: str, shown: str) -> None:
    assert without_passwords(text) == shown


def test_mlflow_writes_nothing_to_standard_output(
    liar: Liar, registry: MlflowRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of `roost push --json` is one document."""
    liar.says({"run": {"info": {"run_id": "a" * 32, "experiment_id": "1"}, "data": {}}, "run_info": {}})
    registry._client.set_terminated("a" * 32)
    assert capsys.readouterr().out == ""


def test_a_folder_that_can_be_no_bundle_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On SQLite a version's source may be any folder: that of the whole machine, too."""
    monkeypatch.setattr(mlflow_artifacts, "download_artifacts", lambda **_: pytest.fail("copied"))

    def refused(name: str) -> None:
        with pytest.raises(VerificationFailed, match="files of it: expected a bundle's"):
            ArtifactFolder((tmp_path / name).as_uri(), f"sqlite:///{tmp_path / 'none.db'}", "it").read_bundle(DIGEST)

    (tmp_path / "deep" / "inner").mkdir(parents=True)
    refused("deep")
    (tmp_path / "large").mkdir()
    with (tmp_path / "large" / "model.onnx").open("wb") as sparse:
        sparse.truncate(BUNDLE_BYTES_MAX + (8 << 20))
    refused("large")
    (tmp_path / "many").mkdir()
    for index in range(FILES_MAX + 4):
        (tmp_path / "many" / f"f{index}").touch()
    refused("many")


def test_a_size_that_the_store_does_not_tell_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "MLmodel").write_bytes(b"x" * 11)
    monkeypatch.setattr(mlflow_artifacts, "list_artifacts", lambda **_: [FileInfo("MLmodel", False, None)])
    folder = ArtifactFolder(tmp_path.as_uri(), f"sqlite:///{tmp_path / 'none.db'}", "it")
    assert folder.read_file("MLmodel", 11) == b"x" * 11
    with pytest.raises(BadDocument, match="it: MLmodel: expected at most 10 bytes, got 11"):
        folder.read_file("MLmodel", 10)
