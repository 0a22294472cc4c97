"""Signatures: who vouches for a bundle is told by the key alone, and every byte of the bundle is covered.

Over 400 lines: every way to tamper is tried on the same signed bundle, and a signature that passes one passes none.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry_client.attachments import AttachmentFolder, Attachments
from registry_client.cache import BundleCache
from registry_client.errors import (
    BadKey,
    RegistryUnavailable,
    SignatureRefused,
    SignedByAnother,
    Unsigned,
    VerificationFailed,
    WronglySigned,
)
from registry_client.manifest import FileEntry, Manifest
from registry_client.signing.beside import path_beside, signatures_beside
from registry_client.signing.keys import Signer, SigningKey, read_signer, read_signers, read_signing_key
from registry_client.signing.signatures import SIGNATURE_BYTES_MAX, sign, signature_name, signed_by
from registry_client.signing.vouching import Vouching
from registry_client.verify import VerifiedBundle, check_files, read_verified
from tests.registry_client.conftest import write_doubling
from tests.registry_client.signing_keys import PASSPHRASE, Pair, make_pair, other_keys, private_pem, public_pem

ROOT = Path(__file__).resolve().parents[2]
WHAT = "doubling:1 (digest 0123)"
FILES = ("model.onnx", "golden.json", "card.md")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def release(keys: Path) -> Pair:
    return make_pair(keys, "release")


@pytest.fixture(scope="module")
def other(keys: Path) -> Pair:
    return make_pair(keys, "other")


@pytest.fixture(scope="module")
def bundle(sound_bundle: Path) -> VerifiedBundle:
    return read_verified(sound_bundle)


def signer_of(pair: Pair) -> Signer:
    return read_signer(pair.option, "--signer")


@pytest.fixture(scope="module")
def signature(bundle: VerifiedBundle, release: Pair) -> bytes:
    return sign(bundle, read_signing_key(release.private))


def forged(bundle: VerifiedBundle, name: str) -> VerifiedBundle:
    """As somebody who can write everything but signatures would change a file: with a manifest that fits."""
    content = bundle.files[name] + b" "
    entry = FileEntry(hashlib.sha256(content).hexdigest(), len(content))
    manifest = replace(bundle.manifest, files={**bundle.manifest.files, name: entry})
    changed = VerifiedBundle(manifest, manifest.digest, {**bundle.files, name: content})
    check_files(changed, manifest.digest)
    return changed


def by_nobody(bundle: VerifiedBundle, signatures: dict[str, bytes], *signers: Signer) -> SignatureRefused:
    with pytest.raises(SignatureRefused) as refused:
        signed_by(bundle, signatures, signers, WHAT)
    assert str(refused.value).startswith(f"{WHAT}: expected a signature by ")
    return refused.value


# --- Keys ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "No such file or directory at"),
        ("folder", "Is a directory at"),
        ("empty", "got none in"),
        ("garbage", "got none in"),
        ("huge", "got more than 65536 bytes in"),
        ("encrypted", "got one with a passphrase in"),
        ("public", "got a public key in"),
        ("P-384", "got one of the curve secp384r1"),
        ("Ed25519", "got a key of another kind (Ed25519PublicKey)"),
        ("RSA", "got a key of another kind (RSAPublicKey)"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_in_one_line_that_says_what_to_do(
    tmp_path: Path, kind: str, words: str
) -> None:
    path, key = tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1())
    contents = {
        "empty": b"", "garbage": b"-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n",
        "huge": b"x" * 70_000, "encrypted": private_pem(key, PASSPHRASE), "public": public_pem(key),
    }  # fmt: skip
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(contents[kind] if kind in contents else private_pem(other_keys()[kind]))
    with pytest.raises(BadKey) as refused:
        read_signing_key(path)
    text = str(refused.value)
    assert text.startswith("--key: expected an unencrypted P-256 private key as PEM, got ")
    assert words in text
    assert "openssl" in text or "private half" in text
    assert "\n" not in text
    assert "MIGH" not in text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "No such file or directory at"),
        ("garbage", "got none in"),
        ("private", "got a private key in"),
        ("P-384", "got one of the curve secp384r1"),
        ("Ed25519", "got a key of another kind (Ed25519PublicKey)"),
        ("RSA", "got a key of another kind (RSAPublicKey)"),
    ],
)
def test_a_key_that_cannot_say_who_signed_is_refused(tmp_path: Path, kind: str, words: str) -> None:
    path = tmp_path / "public.pem"
    if kind == "garbage":
        path.write_bytes(b"no key")
    elif kind == "private":
        path.write_bytes(private_pem(ec.generate_private_key(ec.SECP256R1())))
    elif kind != "missing":
        path.write_bytes(public_pem(other_keys()[kind]))
    with pytest.raises(BadKey) as refused:
        read_signer(f"release={path}", "--signer")
    assert str(refused.value).startswith("--signer: release: expected a P-256 public key as PEM, got ")
    assert words in str(refused.value)
    assert "-pubout" in str(refused.value)


@pytest.mark.parametrize("text", ["public.pem", "=public.pem", "release=", "a b=public.pem"])
def test_a_signer_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(BadKey, match="--signer: expected NAME=FILE"):
        read_signer(text, "--signer")


def test_two_signers_may_share_neither_name_nor_key(release: Pair, other: Pair) -> None:
    with pytest.raises(BadKey, match="again: expected a name and a key of its own, got those of release"):
        read_signers([release.option, f"again={release.public}"], "--signer")
    with pytest.raises(BadKey, match="release: expected a name and a key of its own, got the name twice"):
        read_signers([release.option, f"release={other.public}"], "--signer")
    assert [one.name for one in read_signers([release.option, other.option], "--signer")] == ["release", "other"]


def test_a_fingerprint_is_the_sha256_of_the_public_key_as_openssl_writes_it(release: Pair) -> None:
    expected = hashlib.sha256(release.public.read_bytes()).hexdigest()
    assert signer_of(release).fingerprint == read_signing_key(release.private).owner.fingerprint == expected
    crlf = release.public.with_name("crlf.pem")
    crlf.write_bytes(release.public.read_bytes().replace(b"\n", b"\r\n"))
    assert read_signer(f"release={crlf}", "--signer").fingerprint == expected


def test_a_private_key_does_not_show(release: Pair) -> None:
    key = read_signing_key(release.private)
    assert "PRIVATE" not in repr(key)
    assert isinstance(key, SigningKey)


# --- Who has signed --------------------------------------------------------------------------------------------------
def test_whoever_signed_is_named_and_nobody_else(
    bundle: VerifiedBundle, signature: bytes, release: Pair, other: Pair
) -> None:
    signers = signer_of(other), signer_of(release)
    (found,) = signed_by(bundle, {"anything": signature}, signers, WHAT)
    assert (found.signer.name, found.signature) == ("release", "anything")
    both = {"a": signature, "b": sign(bundle, read_signing_key(other.private)), "c": b"{}"}
    assert [one.signer.name for one in signed_by(bundle, both, signers, WHAT)] == ["other", "release"]


def test_an_unsigned_bundle_is_refused(bundle: VerifiedBundle, release: Pair) -> None:
    refused = by_nobody(bundle, {}, signer_of(release))
    assert isinstance(refused, Unsigned)
    assert "a signature by release, got none: it is unsigned" in str(refused)


def test_a_signature_by_an_unknown_key_is_refused_with_its_fingerprint(
    bundle: VerifiedBundle, signature: bytes, release: Pair, other: Pair
) -> None:
    refused = by_nobody(bundle, {signature_name(signer_of(other)): signature}, signer_of(other))
    assert isinstance(refused, SignedByAnother), "though the file has the other's name"
    assert f"by an unknown key, fingerprint {signer_of(release).fingerprint[:16]}" in str(refused)


@pytest.mark.parametrize("name", FILES)
def test_no_file_can_be_changed_under_a_signature(
    bundle: VerifiedBundle, signature: bytes, release: Pair, name: str
) -> None:
    refused = by_nobody(forged(bundle, name), {"s": signature}, signer_of(release))
    assert isinstance(refused, WronglySigned)
    assert "a signature by release, got s, made for other bytes" in str(refused)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: replace(manifest, meaning={"mark": 1}),
        lambda manifest: replace(manifest, name="tripling"),
        lambda manifest: replace(
            manifest, files={name: entry for name, entry in manifest.files.items() if name != "card.md"}
        ),
        lambda manifest: replace(manifest, files={**manifest.files, "more.md": FileEntry("0" * 64, 0)}),
    ],
)
def test_the_manifest_cannot_be_changed_under_a_signature(
    bundle: VerifiedBundle, signature: bytes, release: Pair, change: Callable[[Manifest], Manifest]
) -> None:
    manifest = change(bundle.manifest)
    refused = by_nobody(VerifiedBundle(manifest, manifest.digest, bundle.files), {"s": signature}, signer_of(release))
    assert isinstance(refused, WronglySigned)


def test_a_signature_that_leaves_a_file_out_does_not_cover_the_bundle(
    sound_bundle: Path, bundle: VerifiedBundle, release: Pair, tmp_path: Path
) -> None:
    """By the key that counts: the library itself would accept it, and any model.onnx with it."""
    from model_signing import hashing, signing, verifying

    partly = hashing.Config().set_ignored_paths(paths=["model.onnx"])
    file = tmp_path / "partly.sig"
    signing.Config().use_elliptic_key_signer(private_key=release.private).set_hashing_config(partly).sign(
        sound_bundle, file
    )
    verifying.Config().use_elliptic_key_verifier(public_key=release.public).verify(sound_bundle, file)
    refused = by_nobody(bundle, {"s": file.read_bytes()}, signer_of(release))
    assert isinstance(refused, WronglySigned)


def test_the_library_verifies_our_signatures_of_a_folder_and_we_its(
    sound_bundle: Path, bundle: VerifiedBundle, signature: bytes, release: Pair, tmp_path: Path
) -> None:
    from model_signing import signing, verifying

    ours, its = tmp_path / "ours.sig", tmp_path / "its.sig"
    ours.write_bytes(signature)
    verifying.Config().use_elliptic_key_verifier(public_key=release.public).verify(sound_bundle, ours)
    signing.Config().use_elliptic_key_signer(private_key=release.private).sign(sound_bundle, its)
    assert signed_by(bundle, {"s": its.read_bytes()}, [signer_of(release)], WHAT)[0].signer.name == "release"


def with_payload(signature: bytes, payload: bytes) -> bytes:
    document = json.loads(signature)
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    return json.dumps(document).encode()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_no_byte_of_what_was_signed_can_be_changed(
    bundle: VerifiedBundle, signature: bytes, release: Pair, at: float, flip: int
) -> None:
    payload = bytearray(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))
    payload[int(at * len(payload))] ^= flip
    refused = by_nobody(bundle, {"s": with_payload(signature, bytes(payload))}, signer_of(release))
    assert isinstance(refused, WronglySigned)
    assert "damaged: that key did not make it" in str(refused)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(at=st.floats(0, 1, exclude_max=True), byte=st.binary(min_size=1, max_size=3))
def test_whatever_becomes_of_a_signatures_file_another_bundle_is_never_signed_by_it(
    bundle: VerifiedBundle, signature: bytes, release: Pair, at: float, byte: bytes
) -> None:
    cut = int(at * len(signature))
    damaged = signature[:cut] + byte + signature[cut + len(byte) :]
    refused = by_nobody(forged(bundle, "card.md"), {"s": damaged}, signer_of(release))
    assert "\n" not in str(refused)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":1,"a":1}', b" " * (SIGNATURE_BYTES_MAX + 1),
        b'{"verificationMaterial":{"publicKey":{"hint":null}}}', b'{"verificationMaterial":{"publicKey":{"hint":7}}}',
        b'{"verificationMaterial":{"publicKey":[]}}',
    ],
    ids=lambda content: repr(content[:30]),
)  # fmt: skip
def test_what_is_no_signature_is_said_to_be_none(bundle: VerifiedBundle, release: Pair, content: bytes) -> None:
    refused = by_nobody(bundle, {"signature-x.json": content}, signer_of(release))
    assert isinstance(refused, WronglySigned)
    assert "got signature-x.json, which is no signature" in str(refused)
    assert len(str(refused)) < 700


def test_a_signature_with_the_right_fingerprint_and_nothing_else_is_damaged(
    bundle: VerifiedBundle, release: Pair, capfd: pytest.CaptureFixture[str]
) -> None:
    hint = {"verificationMaterial": {"publicKey": {"hint": signer_of(release).fingerprint}}}
    refused = by_nobody(bundle, {"s": json.dumps(hint).encode()}, signer_of(release))
    assert "damaged" in str(refused)
    assert capfd.readouterr() == ("", ""), "the library prints to the output of whoever calls it"


def test_a_forgery_in_the_name_of_a_key_that_counts_is_told_before_strangers(
    bundle: VerifiedBundle, signature: bytes, release: Pair, other: Pair
) -> None:
    found = {"a": sign(bundle, read_signing_key(other.private)), "b": with_payload(signature, b"{}")}
    assert isinstance(by_nobody(bundle, found, signer_of(release)), WronglySigned)


def test_signing_leaves_no_file_anywhere(
    bundle: VerifiedBundle, release: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = set(os.listdir("/proc/self/fd"))
    sign(bundle, read_signing_key(release.private))
    assert list(tmp_path.iterdir()) == []
    assert set(os.listdir("/proc/self/fd")) == before


# --- Beside a folder -------------------------------------------------------------------------------------------------
def test_signatures_beside_a_folder_are_those_that_bear_its_name(tmp_path: Path, release: Pair, other: Pair) -> None:
    folder = tmp_path / "b"
    write_doubling(folder)
    for place in (folder, tmp_path / "b2"):
        for pair in (release, other):
            path_beside(place, signer_of(pair)).write_bytes(place.name.encode())
    (tmp_path / "b.sig").write_bytes(b"not looked at")
    assert set(signatures_beside(folder).values()) == {b"b"}
    assert len(signatures_beside(folder / ".." / "b")) == 2
    assert read_verified(folder).files.keys() == {"model.onnx", "golden.json"}, "nothing is put inside"


def test_a_fifo_beside_a_folder_is_refused_and_not_waited_for(tmp_path: Path, release: Pair) -> None:
    os.mkfifo(path_beside(tmp_path / "b", signer_of(release)))
    with pytest.raises(VerificationFailed, match="expected a regular file"):
        signatures_beside(tmp_path / "b")


# --- As a server asks ------------------------------------------------------------------------------------------------
@pytest.fixture
def vouching(tmp_path: Path, release: Pair) -> Vouching:
    return Vouching((signer_of(release),), BundleCache(tmp_path / "cache"))


def attached(tmp_path: Path, bundle: VerifiedBundle, **files: bytes) -> Attachments:
    """In a registry, by names that end in .json."""
    folder = AttachmentFolder(tmp_path / "registry")
    for name, content in files.items():
        folder.put(bundle.digest, f"{name.replace('_', '-')}.json", content)
    return folder.of(bundle.digest)


def gone() -> Attachments:
    raise RegistryUnavailable("registry", expected="an answer", got="none", hint="Later.")


def test_a_signature_that_vouched_is_kept_and_the_registry_is_not_asked_again(
    vouching: Vouching, bundle: VerifiedBundle, signature: bytes, tmp_path: Path
) -> None:
    found = attached(tmp_path, bundle, signature_x=signature, provenance=b"{}", signature_y=b"rubbish")
    assert vouching.signer_of(bundle, "1", lambda: found).name == "release"
    assert vouching.signer_of(bundle, "1", gone).name == "release"
    assert list(vouching.cache.attachments.of(bundle.digest)) == [signature_name(vouching.signers[0])]


def test_a_kept_signature_is_checked_again_each_time(
    vouching: Vouching, bundle: VerifiedBundle, signature: bytes, other: Pair, tmp_path: Path
) -> None:
    found = attached(tmp_path, bundle, signature_x=signature)
    vouching.signer_of(bundle, "1", lambda: found)
    strict = replace(vouching, signers=(signer_of(other),))
    with pytest.raises(SignedByAnother):
        strict.signer_of(bundle, "1", lambda: found)
    vouching.cache.attachments.put(bundle.digest, signature_name(vouching.signers[0]), b"damaged")
    with pytest.raises(RegistryUnavailable):
        vouching.signer_of(bundle, "1", gone)
    assert vouching.signer_of(bundle, "1", lambda: found).name == "release"
    with pytest.raises(WronglySigned):
        vouching.signer_of(forged(bundle, "card.md"), "2", lambda: found)


def test_what_is_attached_under_other_names_is_no_signature(
    vouching: Vouching, bundle: VerifiedBundle, signature: bytes, tmp_path: Path
) -> None:
    with pytest.raises(Unsigned, match=re.escape(f"doubling:7 (digest {bundle.digest[:12]})")):
        vouching.signer_of(bundle, "7", lambda: attached(tmp_path, bundle, provenance=signature))


def test_one_that_is_too_large_does_not_keep_the_others_from_counting(
    vouching: Vouching, bundle: VerifiedBundle, signature: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flood = attached(tmp_path, bundle, signature_a=b" " * (SIGNATURE_BYTES_MAX + 1), signature_b=signature)
    with caplog.at_level(logging.WARNING, "roost.registry_client"):
        assert vouching.signer_of(bundle, "1", lambda: flood).name == "release"
    assert "a signature is left out: attachment signature-a.json" in caplog.text


def test_a_cache_that_cannot_keep_a_signature_is_no_reason_to_refuse_the_version(
    vouching: Vouching, bundle: VerifiedBundle, signature: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    found = attached(tmp_path, bundle, signature_x=signature)

    def put(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AttachmentFolder, "put", put)
    assert vouching.signer_of(bundle, "1", lambda: found).name == "release"
    assert "not kept in the cache" in caplog.text


def test_the_library_is_imported_only_where_a_signature_is_checked() -> None:
    """Of a worker, `lint-imports` says that it never is."""
    program = (
        "import sys, server.control.artifact_source, server.cli.pinning, registry_client.folder\n"
        "import registry_client.signing.vouching, registry_client.signing.check\n"
        "print([name for name in ('model_signing', 'cryptography', 'sigstore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
