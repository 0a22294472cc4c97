"""MLflow's registry where it lies, is slow or gone: the digest decides, and nothing but an ArtifactError comes out."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry_client.cache import BundleCache
from registry_client.errors import (
    ArtifactError,
    BadDocument,
    NotInRegistry,
    RegistryRefused,
    RegistryUnavailable,
    VerificationFailed,
)
from registry_client.opening import open_registry
from tests.registry_client.test_both_registries import empty_database, make  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[..., Path]


@pytest.fixture
def uri(tmp_path: Path, empty_database: Path) -> str:  # noqa: F811
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def registry(uri: str):  # type: ignore[no-untyped-def]
    return open_registry(uri)


@pytest.fixture
def cache(tmp_path: Path) -> BundleCache:
    return BundleCache(tmp_path / "cache")


def stored(tmp_path: Path, name: str) -> Path:
    """A file of the one registered version, where MLflow keeps it."""
    (found,) = (tmp_path / "artifacts").rglob(name)
    return found


@pytest.mark.parametrize("name", ["model.onnx", "golden.json", "manifest.json", "manifest.sha256", "card.md"])
@pytest.mark.parametrize("damage", ["overwritten", "truncated", "removed"])
def test_no_changed_file_of_a_registered_version_is_served(  # type: ignore[no-untyped-def]
    registry, tmp_path, cache, sound_bundle, name, damage
) -> None:
    version = registry.push(sound_bundle)
    file = stored(tmp_path, name)
    if damage == "removed":
        file.unlink()
    else:
        content = file.read_bytes()
        file.write_bytes(content[:-1] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises((VerificationFailed, BadDocument)):
        registry.fetch(version, cache)


def test_a_whole_other_bundle_in_its_place_is_refused(registry, tmp_path, make, cache) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    version = registry.push(make(1))
    folder = stored(tmp_path, "model.onnx").parent
    shutil.rmtree(folder)
    shutil.copytree(make(2), folder)
    with pytest.raises(VerificationFailed, match="digest"):
        registry.fetch(version, cache)


def test_an_extra_file_is_refused_but_for_the_one_that_mlflow_leaves(registry, tmp_path, make, cache) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    version = registry.push(make(1))
    folder = stored(tmp_path, "model.onnx").parent
    (folder / "registered_model_meta").write_text("model_name: doubling")
    assert registry.fetch(version, BundleCache(tmp_path / "other")).digest == version.digest
    (folder / "extra.py").write_text("import os")
    with pytest.raises(VerificationFailed, match=r"extra\.py"):
        registry.fetch(version, cache)


def test_a_wrong_digest_tag_gives_nothing(registry, make, cache) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    registry.push(make(1))
    registry._client.set_model_version_tag("doubling", "1", "roost.digest", "0" * 64)
    with pytest.raises(VerificationFailed, match="digest"):
        registry.fetch(registry.resolve("doubling", 1), cache)
    registry._client.set_model_version_tag("doubling", "1", "roost.digest", "nonsense")
    with pytest.raises(BadDocument, match=r"roost\.digest"):
        registry.resolve("doubling", 1)


def test_one_spoilt_digest_tag_hides_its_own_version_only_and_is_said_once(registry, make, cache, caplog) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    first, _, third = (registry.push(make(number)) for number in (1, 2, 3))
    registry._client.set_model_version_tag("doubling", "2", "roost.digest", "nonsense")
    for _ in range(2):
        assert [one.version for one in registry.versions("doubling")] == [1, 3]
    assert registry.resolve("doubling").digest == third.digest, "the newest"
    assert registry.set_alias("doubling", "stable", 1).digest == first.digest
    assert registry.push(make(4)).version == 4
    assert registry.fetch(registry.resolve("doubling", "@stable"), cache).digest == first.digest
    with pytest.raises(BadDocument, match=r"doubling:2: tag roost\.digest"):
        registry.resolve("doubling", 2)
    assert [record.getMessage().count("doubling:2") for record in caplog.records if "left out" in record.msg] == [1]


def test_an_alias_that_somebody_else_moved_is_refused_naming_both_digests(registry, make) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    first = registry.push(make(1), aliases=("stable",))
    second = registry.push(make(2))
    registry._client.set_registered_model_alias("doubling", "stable", "2")
    with pytest.raises(VerificationFailed) as refused:
        registry.resolve("doubling", "@stable")
    assert first.digest in str(refused.value)
    assert second.digest in str(refused.value)
    registry.set_alias("doubling", "stable", 2)
    assert registry.resolve("doubling", "@stable").version == 2


def test_an_alias_that_is_moved_just_now_is_waited_for_and_nobody_is_accused(registry, make) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    registry.push(make(1), aliases=("stable",))
    second = registry.push(make(2))
    registry._client.set_registered_model_tag("doubling", "roost.alias.stable", second.digest)  # the half of set_alias
    later = threading.Timer(0.3, registry._client.set_registered_model_alias, ("doubling", "stable", "2"))
    later.start()
    assert registry.resolve("doubling", "@stable").version == 2
    later.join()


def test_a_version_that_roost_did_not_register_is_not_served(registry, make) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    registry.push(make(1))
    registry._client.create_model_version("doubling", "file:///elsewhere", None)
    assert [version.version for version in registry.versions("doubling")] == [1]
    assert registry.resolve("doubling").version == 1
    with pytest.raises(NotInRegistry, match="roost adopt models:/doubling/2"):
        registry.resolve("doubling", 2)


def test_a_model_that_roost_cannot_name_is_not_listed(registry, make) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    registry.push(make(1))
    registry._client.create_registered_model("Somebody's model, 2nd")
    assert registry.names() == ("doubling",)


def test_a_new_database_is_made_in_silence(tmp_path: Path) -> None:
    program = "import sys; from registry_client.opening import open_registry; print(open_registry(sys.argv[1]).names())"
    command = [sys.executable, "-W", "ignore", "-c", program, f"sqlite:///{tmp_path / 'new.db'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("()\n", "")


def test_the_digest_of_a_version_is_not_a_tag_to_be_set(registry, make) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    registry.push(make(1))
    with pytest.raises(RegistryRefused, match="the one that names the content"):
        registry.set_tag("doubling", 1, "roost.digest", "0" * 64)


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "damaged.db").write_bytes(b"no database at all" * 100)
    (tmp_path / "folder.db").mkdir()
    for name in ("damaged.db", "folder.db"):
        with pytest.raises(RegistryUnavailable, match="See that it is up"):
            open_registry(f"sqlite:///{tmp_path}/{name}").names()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for connection in kept:
            connection.close()


def test_a_server_that_is_silent_is_unavailable_in_bounded_time(
    silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    started = time.monotonic()
    with pytest.raises(ArtifactError) as refused:
        open_registry(silent_server).names()
    assert isinstance(refused.value, RegistryUnavailable)
    assert time.monotonic() - started < 20


def test_a_server_that_is_down_is_unavailable_and_no_password_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(RegistryUnavailable) as refused:
        open_registry(f"http://eva:secret@127.0.0.1:{port}").names()
    assert "eva:***@" in str(refused.value)
    assert "secret" not in str(refused.value).partition("got")[0]


def resolve(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "registry_client.resolve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def test_a_process_of_its_own_says_what_references_mean(registry, uri: str, make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    pushed = registry.push(make(1), aliases=("stable",))
    found = resolve(uri, str(tmp_path / "resolved"), "doubling@stable", "doubling:1")
    expected = {"name": "doubling", "version": "1", "digest": pushed.digest}
    assert [json.loads(line) for line in found.stdout.splitlines()] == [expected, expected]
    assert found.returncode == 0
    assert BundleCache(tmp_path / "resolved").get(pushed.digest).digest == pushed.digest
    missing = resolve(uri, str(tmp_path / "resolved"), "doubling:9")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "doubling:9: expected a version of doubling" in missing.stderr
    (tmp_path / "folder.db").mkdir()
    assert resolve(f"sqlite:///{tmp_path}/folder.db", str(tmp_path / "resolved"), "doubling").returncode == 3


ALONE = """
import sys
from registry_client.mlflow_environment import import_client_alone
if "first" in sys.argv: import pandas
import_client_alone("/a/folder")
assert "mlflow" not in sys.modules
import_client_alone(sys.argv[1])
assert ("pandas" in sys.modules) == ("first" in sys.argv)
from registry_client.opening import open_registry
registry = open_registry(sys.argv[1])
found = registry.resolve("doubling", "stable")
registry.set_model_tag("doubling", "seen", "yes")
print(found.digest, "pandas" in sys.modules)
import pandas
assert pandas.DataFrame({"x": [1]}).x.sum() == 1
"""


@pytest.mark.parametrize("first", [[], ["first"]])
def test_a_registry_is_asked_without_pandas_which_who_wants_it_still_gets(
    registry, uri: str, make, first: list[str]  # type: ignore[no-untyped-def]  # noqa: F811
) -> None:
    pushed = registry.push(make(1), aliases=("stable",))
    found = subprocess.run(
        [sys.executable, "-c", ALONE, uri, *first],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout.split() == [pushed.digest, str(bool(first))]
    assert registry.model_tags("doubling")["seen"] == "yes"


PLUGGED = """
import sys
from registry_client.mlflow_environment import import_client_alone
import_client_alone("sqlite:///nowhere.db")
from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry
assert "planted" in _artifact_repository_registry._registry
"""


def test_a_plugin_of_mlflows_gets_the_pandas_that_it_needs(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import pandas\nclass Repository: pass\n")
    about = tmp_path / "planted-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[mlflow.artifact_repository]\nplanted=planted:Repository\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    subprocess.run([sys.executable, "-c", PLUGGED], env=environment, check=True)


def test_only_who_asks_for_mlflow_imports_it() -> None:
    program = (
        "import sys; from registry_client.opening import open_registry; open_registry('/tmp');"
        "import server.worker.process, server.cli.parent; sys.exit('mlflow' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
