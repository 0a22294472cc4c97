"""`roost sign`, and `roost verify` with signers: who signed is named, and every kind of tampering has its own words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from registry_client.manifest import FileEntry
from registry_client.opening import open_registry
from registry_client.verify import read_verified
from server.cli.application import app
from tests.registry_client.conftest import write_doubling
from tests.registry_client.mlflow_place import empty_mlflow
from tests.registry_client.signing_keys import Pair, make_pair, other_keys, private_pem

Run = Callable[..., str]
FILES = ("model.onnx", "golden.json", "card.md", "manifest.json", "manifest.sha256")


def roost(*arguments: object) -> str:
    """What it printed; it must have done it."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, ""), result.stderr
    return result.stdout


def refusal(*arguments: object) -> str:
    """The one line of a refusal."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert result.stderr.startswith("roost: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("keys"), "stranger")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_doubling(tmp_path / "b", extra_files={"card.md": b"# doubling\n"})
    return tmp_path / "b"


@pytest.fixture(params=["folder", "mlflow"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, bundle: Path) -> str:
    """With the bundle as version 1."""
    location = str(tmp_path / "registry") if request.param == "folder" else empty_mlflow(tmp_path)
    open_registry(location).push(bundle, aliases=("stable",))
    return location


def forge(folder: Path, name: str) -> None:
    """Changes a file and makes the manifest fit, so that only a signature can tell."""
    found = read_verified(folder)
    content = found.files[name] + b" "
    entry = FileEntry(hashlib.sha256(content).hexdigest(), len(content))
    manifest = replace(found.manifest, files={**found.manifest.files, name: entry})
    (folder / name).write_bytes(content)
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    (folder / "manifest.sha256").write_bytes(manifest.digest_line())


def test_a_folder_is_signed_beside_it_and_verify_names_who_signed(bundle: Path, release: Pair, stranger: Pair) -> None:
    before = sorted(bundle.iterdir())
    digest = read_verified(bundle).digest
    said = json.loads(roost("sign", bundle, "--key", release.private, "--json"))
    assert Path(said["signature"]).parent == bundle.parent
    assert (said["name"], said["digest"]) == ("doubling", digest)
    assert said["fingerprint"] == hashlib.sha256(release.public.read_bytes()).hexdigest()
    assert sorted(bundle.iterdir()) == before
    assert f"digest {digest}, signed by release\n" in roost("verify", bundle, "--signer", release.option)
    both = ["--signer", stranger.option, "--signer", release.option]
    assert json.loads(roost("verify", bundle, *both, "--json"))["signed_by"] == ["release"]
    roost("sign", bundle, "--key", stranger.private)
    assert json.loads(roost("verify", bundle, *both, "--json"))["signed_by"] == ["stranger", "release"]
    assert "signed" not in roost("verify", bundle), "who does not ask is told nothing"


def test_a_version_is_signed_where_it_lies_and_stays_as_it_is(registry: str, release: Pair, stranger: Pair) -> None:
    before = open_registry(registry).resolve("doubling")
    assert "is unsigned" in refusal("verify", "doubling:1", "--registry", registry, "--signer", release.option)
    said = json.loads(roost("sign", "doubling", "--registry", registry, "--key", release.private, "--json"))
    assert said["signature"] == f"signature-{said['fingerprint'][:16]}.json"
    assert list(open_registry(registry).attachments("doubling", 1)) == [said["signature"]]
    assert open_registry(registry).resolve("doubling") == before
    signers = ("--signer", release.option)
    assert "doubling:1: sound" in roost("verify", "doubling@stable", "--registry", registry, *signers)
    assert "signed by release" in roost("verify", "doubling:1", "--registry", registry, *signers)
    line = refusal("verify", "doubling:1", "--registry", registry, "--signer", stranger.option)
    assert f"by an unknown key, fingerprint {said['fingerprint'][:16]}" in line
    assert "doubling:1 (digest " in line


def test_a_signature_may_lie_anywhere_when_it_is_named(bundle: Path, tmp_path: Path, release: Pair) -> None:
    registry = str(tmp_path / "registry")
    open_registry(registry).push(bundle)
    out = tmp_path / "elsewhere.sig"
    roost("sign", "doubling:1", "--registry", registry, "--key", release.private, "--out", out)
    assert list(open_registry(registry).attachments("doubling", 1)) == []
    named = ("--signer", release.option, "--signature", out)
    roost("verify", "doubling:1", "--registry", registry, *named)
    roost("verify", bundle, *named)
    assert "is unsigned" in refusal("verify", bundle, *named[:2])
    assert "No such file" in refusal("verify", bundle, *named[:3], tmp_path / "gone.sig")


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_found_with_a_signature_and_without(
    bundle: Path, release: Pair, name: str, signed: bool
) -> None:
    roost("sign", bundle, "--key", release.private)
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    line = refusal("verify", bundle, *(("--signer", release.option) if signed else ()))
    assert name in line or (name == "manifest.json" and "manifest.sha256" in line)


@pytest.mark.parametrize("name", ["golden.json", "card.md"])
def test_a_change_that_the_manifest_agrees_to_is_found_by_the_signature(
    bundle: Path, release: Pair, name: str
) -> None:
    roost("sign", bundle, "--key", release.private)
    forge(bundle, name)
    roost("verify", bundle)
    line = refusal("verify", bundle, "--signer", release.option)
    assert "expected a signature by release, got b.signature-" in line
    assert "made for other bytes: another bundle's, or a file has changed since" in line


def test_a_file_too_many_and_one_too_few_are_found_as_before(bundle: Path, release: Pair) -> None:
    roost("sign", bundle, "--key", release.private)
    (bundle / "more.py").write_text("import os")
    assert "'more.py': expected only files that the manifest names" in refusal(
        "verify", bundle, "--signer", release.option
    )
    (bundle / "more.py").unlink()
    (bundle / "card.md").unlink()
    assert "card.md: expected the file" in refusal("verify", bundle, "--signer", release.option)


def test_unsigned_damaged_anothers_and_a_strangers_are_told_apart(
    bundle: Path, tmp_path: Path, release: Pair, stranger: Pair
) -> None:
    write_doubling(tmp_path / "other", meaning={"mark": 2})
    asked = ("verify", bundle, "--signer", release.option)
    assert "got none: it is unsigned. Sign it with roost sign" in refusal(*asked)
    (beside,) = [Path(json.loads(roost("sign", bundle, "--key", release.private, "--json"))["signature"])]
    good = beside.read_bytes()
    document = json.loads(good)
    document["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"
    beside.write_text(json.dumps(document))
    assert "damaged: that key did not make it" in refusal(*asked)
    beside.write_bytes(good[:100])
    assert "which is no signature" in refusal(*asked)
    roost("sign", tmp_path / "other", "--key", release.private, "--out", beside)
    assert "made for other bytes" in refusal(*asked)
    roost("sign", bundle, "--key", stranger.private, "--out", beside)
    assert "by an unknown key, fingerprint" in refusal(*asked)
    beside.write_bytes(good)
    roost(*asked)


def test_a_bundle_that_is_not_sound_is_not_signed(bundle: Path, release: Pair) -> None:
    (bundle / "card.md").write_bytes(b"changed")
    assert "card.md: expected sha256" in refusal("sign", bundle, "--key", release.private)
    assert [path.name for path in bundle.parent.iterdir()] == ["b"]


def test_nothing_is_written_inside_the_bundle(bundle: Path, tmp_path: Path, release: Pair) -> None:
    before = sorted(bundle.iterdir())
    for out in (bundle / "b.sig", bundle, tmp_path / "x" / ".." / "b" / "b.sig"):
        line = refusal("sign", bundle, "--key", release.private, "--out", out)
        assert "--out: expected a file outside of the bundle's folder" in line
    assert "expected a file in a folder that exists" in refusal(
        "sign", bundle, "--key", release.private, "--out", tmp_path / "gone" / "b.sig"
    )
    assert sorted(bundle.iterdir()) == before


def test_a_wrong_key_is_one_line_that_says_how_to_make_one(
    bundle: Path, tmp_path: Path, release: Pair
) -> None:
    (tmp_path / "rsa.pem").write_bytes(private_pem(other_keys()["RSA"]))
    for key in (tmp_path / "rsa.pem", tmp_path / "gone.pem"):
        assert "openssl ecparam -name prime256v1 -genkey" in refusal("sign", bundle, "--key", key)
    line = refusal("verify", bundle, "--signer", f"release={release.private}")
    assert "--signer: release: expected a P-256 public key as PEM, got a private key" in line
    assert "--signer: expected NAME=FILE" in refusal("verify", bundle, "--signer", release.public)


def test_a_signature_without_a_signer_is_refused_rather_than_ignored(bundle: Path, tmp_path: Path) -> None:
    line = refusal("verify", bundle, "--signature", tmp_path / "b.sig")
    assert "--signature: expected --signer NAME=PUBLIC.pem beside it, got none" in line


def test_who_forgets_the_registry_is_told(release: Pair) -> None:
    line = refusal("sign", "doubling:3", "--key", release.private)
    assert "A model of a registry: roost sign doubling:3 --registry FOLDER|URI." in line
