"""`registry.signers` at the start: a bad key is one line, and nothing is pinned that none of the signers has signed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from registry_client.cache import BundleCache
from registry_client.opening import open_registry
from registry_client.registry import Registry
from registry_client.signing import check
from registry_client.signing.keys import read_signing_key
from registry_client.signing.signatures import sign, signature_name
from registry_client.verify import read_verified
from server.cli import pinning, serve
from server.cli.application import app
from server.cli.configuration import ConfigurationError, load_settings
from server.cli.pinning import PinningFailed, pin_models
from server.settings import ModelSettings, RegistrySettings, Settings
from tests.registry_client.conftest import write_doubling
from tests.registry_client.mlflow_place import empty_mlflow
from tests.registry_client.signing_keys import Pair, make_pair


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("keys"), "stranger")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_doubling(tmp_path / "b")
    return tmp_path / "b"


def signature_of(bundle: Path, pair: Pair) -> bytes:
    return sign(read_verified(bundle), read_signing_key(pair.private))


def attach(registry: Registry, bundle: Path, pair: Pair, name: str = "doubling", version: int = 1) -> None:
    file_name = signature_name(read_signing_key(pair.private).owner)
    registry.attach(name, version, file_name, signature_of(bundle, pair))


def settings_of(tmp_path: Path, *pairs: Pair, mlflow: str | None = None) -> Settings:
    place = {"path": tmp_path / "registry"} if mlflow is None else {"mlflow": mlflow}
    registry = RegistrySettings(cache=tmp_path / "cache", signers=tuple(pair.option for pair in pairs), **place)
    return Settings(
        registry=registry, models=(ModelSettings(name="doubling", reference="@stable"),),
        lifecycle={"state": tmp_path / "state"},
    )  # fmt: skip


def refused(settings: Settings) -> str:
    """The one line why nothing is served."""
    with pytest.raises(PinningFailed) as failed:
        pin_models(settings)
    (line,) = failed.value.lines
    return line


# --- Settings --------------------------------------------------------------------------------------------------------
def test_signers_come_from_a_list_or_from_a_text_with_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = (f"release={tmp_path}/r.pem", "ops=/o.pem")
    file = tmp_path / "roost.toml"
    file.write_text('[registry]\nsigners = ["release=~/r.pem", "ops=/o.pem"]\n')
    assert load_settings({}, {}, file).registry.signers == expected
    environment = {"ROOST_REGISTRY__SIGNERS": "release=~/r.pem, ops=/o.pem"}
    assert load_settings({}, environment, None).registry.signers == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("release.pem", "expected a list of NAME=FILE, each a P-256 public key as PEM, got 'release.pem'"),
        ("=a.pem", "got '=a.pem'"),
        ("a b=a.pem", "got 'a b=a.pem'"),
        ("a=a.pem,a=b.pem", "expected every name once, got 'a' twice"),
    ],
)
def test_what_is_no_signer_is_refused_with_its_key(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        load_settings({}, {"ROOST_REGISTRY__SIGNERS": text}, None)
    (line,) = wrong.value.lines
    assert line.startswith("registry.signers: expected ")
    assert words in line


def test_a_file_that_can_have_no_signature_is_not_served_beside_signers() -> None:
    flags = {"models": [{"name": "bare", "onnx": "bare.onnx"}]}
    with pytest.raises(ConfigurationError, match="got an ONNX file for bare, which can have none"):
        load_settings(flags, {"ROOST_REGISTRY__SIGNERS": "release=r.pem"}, None)


def serve_refused(tmp_path: Path, signers: str) -> str:
    """What `roost serve` says, which starts nothing."""
    (tmp_path / "registry").mkdir(exist_ok=True)
    arguments = ["serve", "--registry", str(tmp_path / "registry"), "--model", "doubling"]
    result = CliRunner().invoke(app, arguments, env={"ROOST_REGISTRY__SIGNERS": signers})
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_a_key_that_is_missing_or_bad_keeps_the_server_from_starting_in_one_line(
    tmp_path: Path, release: Pair
) -> None:
    said = serve_refused(tmp_path, f"release={tmp_path}/gone.pem")
    assert said.startswith("roost: registry.signers: release: expected a P-256 public key as PEM, got No such file")
    said = serve_refused(tmp_path, f"{release.option},ops={release.private}")
    assert said.startswith("roost: registry.signers: ops: expected a P-256 public key as PEM, got a private key in")


def test_signers_without_the_library_are_refused_at_the_start(
    tmp_path: Path, release: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda _name: None)
    assert "pip install 'roost-server[registry]'" in serve_refused(tmp_path, release.option)


# --- Pins ------------------------------------------------------------------------------------------------------------
def test_a_stable_is_pinned_only_once_it_is_signed(tmp_path: Path, bundle: Path, release: Pair) -> None:
    settings = settings_of(tmp_path, release)
    registry = open_registry(str(tmp_path / "registry"))
    digest = registry.push(bundle, aliases=("stable",)).digest
    expected = f"model doubling: doubling:1 (digest {digest[:12]}): expected a signature by release, got "
    assert refused(settings).startswith(f"{expected}none: it is unsigned")
    attach(registry, bundle, release)
    (pin,) = pin_models(settings)
    assert pin.digest == digest
    kept = BundleCache(settings.registry.cache).attachments.of(digest)
    assert list(kept) == [signature_name(read_signing_key(release.private).owner)]


def test_an_mlflow_registrys_signatures_are_asked_for_and_kept(
    tmp_path: Path, bundle: Path, release: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    location = empty_mlflow(tmp_path)
    registry = open_registry(location)
    version = {"name": "doubling", "version": "1", "digest": registry.push(bundle).digest}
    asked = {
        "location": location, "cache": str(tmp_path / "cache"), "signers": [release.option], "versions": [version],
    }  # fmt: skip
    assert check.main(json.dumps(asked)) == 1
    assert "expected a signature by release, got none" in capsys.readouterr().err
    attach(registry, bundle, release)
    assert check.main(json.dumps(asked)) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "doubling", "signer": "release"}
    (tmp_path / "mlflow.db").rename(tmp_path / "away.db")
    assert check.main(json.dumps(asked)) == 0, "bundle and signature are in the cache"
    shutil.rmtree(tmp_path / "cache" / "attachments")
    assert check.main(json.dumps(asked)) == 1, "nothing is served on trust"
    assert "model doubling: registry: expected a database, got none" in capsys.readouterr().err


def test_a_start_with_mlflow_down_serves_what_was_signed(
    tmp_path: Path, bundle: Path, release: Pair
) -> None:
    (tmp_path / "mlflow.db").mkdir()
    settings = settings_of(tmp_path, release, mlflow=f"sqlite:///{tmp_path / 'mlflow.db'}")
    found, kept = read_verified(bundle), BundleCache(settings.registry.cache)
    kept.put(found)
    keep_as_served_last(settings, found.digest)
    name = signature_name(read_signing_key(release.private).owner)
    kept.attachments.put(found.digest, name, signature_of(bundle, release))
    assert [pin.digest for pin in pin_models(settings)] == [found.digest]


def keep_as_served_last(settings: Settings, digest: str) -> None:
    """As control does with every decision."""
    settings.lifecycle.state.mkdir()
    (settings.lifecycle.state / pinning.SERVED_FILE).write_text(
        f'{{"doubling": {{"version": "1", "digest": "{digest}"}}}}'
    )


def test_every_version_that_is_not_signed_is_named_at_once_with_its_reason(
    tmp_path: Path, release: Pair, stranger: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    location = str(tmp_path / "registry")
    registry, names = open_registry(location), ("unsigned", "signed", "strangers", "anothers")
    digests = {}
    for name in names:
        write_doubling(tmp_path / name, name=name)
        digests[name] = registry.push(tmp_path / name).digest
    attach(registry, tmp_path / "signed", release, "signed")
    attach(registry, tmp_path / "strangers", stranger, "strangers")
    attach(registry, tmp_path / "signed", release, "anothers")
    versions = [{"name": name, "version": "1", "digest": digests[name]} for name in names]
    asked = {"location": location, "cache": str(tmp_path / "cache"), "signers": [release.option], "versions": versions}
    assert check.main(json.dumps(asked)) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"name": "signed", "signer": "release"}
    expected = {"unsigned": "got none", "strangers": "by an unknown key", "anothers": "made for other bytes"}
    for line, (name, words) in zip(said.err.splitlines(), expected.items(), strict=True):
        assert line.startswith(f"model {name}: {name}:1 (digest {digests[name][:12]}): ")
        assert words in line


def test_a_check_that_takes_too_long_is_given_up(
    tmp_path: Path, bundle: Path, release: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_registry(str(tmp_path / "registry")).push(bundle, aliases=("stable",))
    monkeypatch.setattr(pinning, "SIGNATURES_COMMAND", ("sleep", "60"))
    monkeypatch.setattr(pinning, "RESOLVE_TIMEOUT_S", 0.1)
    assert "expected it to give signatures within 0.1 s" in refused(settings_of(tmp_path, release))
