"""Signatures of bundles: a Sigstore bundle (v0.3) around an in-toto statement with the sha256 of each of its files.

The library is given digests of what is in memory, as `verify.py` has hashed it, in place of a folder: no file is read a
second time, none is left out because the signature says so, and what was checked is what is loaded, for the digest
names it. The format is model-signing's own: its command line verifies ours, and we its.
Always: a signature counts for the key that made it, whatever its file is called.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from registry_client import canonical_json
from registry_client.errors import (
    ArtifactError,
    BadDocument,
    SignatureRefused,
    SignedByAnother,
    Unsigned,
    WronglySigned,
)
from registry_client.manifest import DIGEST_FILE, MANIFEST_FILE, check_digest, sha256_hex
from registry_client.signing.keys import Signer, SigningKey, missing_library
from registry_client.verify import VerifiedBundle

SIGNATURE_BYTES_MAX: Final = 1 << 16  # 64 files with names of 100 characters take 16 KiB
PREFIX, SUFFIX = "signature-", ".json"
FINGERPRINT_SHOWN: Final = 16


@dataclass(frozen=True)
class Signed:
    """By whom, and the name of the signature that says so among those that were found."""

    signer: Signer
    signature: str


def signature_name(signer: Signer) -> str:
    """What a signature is attached as: one for each key, so that several may sign."""
    return f"{PREFIX}{shown(signer.fingerprint)}{SUFFIX}"


def is_signature_name(name: str) -> bool:
    return name.startswith(PREFIX) and name.endswith(SUFFIX)


def shown(fingerprint: str) -> str:
    return fingerprint[:FINGERPRINT_SHOWN]


def sign(bundle: VerifiedBundle, key: SigningKey) -> bytes:
    """The signature, as JSON. Raises MissingLibrary."""
    signing = _library("signing")
    with _as_file(key.private_pem) as private, _as_file(b"") as signature:
        config = signing.Config().set_hashing_config(_Hashed(bundle)).use_elliptic_key_signer(private_key=private)
        config.sign(bundle.manifest.name, signature)
        content = signature.read_bytes()
    signed_by(bundle, {signature_name(key.owner): content}, (key.owner,), bundle.manifest.name)
    return content


def signed_by(
    bundle: VerifiedBundle, signatures: Mapping[str, bytes], signers: Sequence[Signer], what: str
) -> tuple[Signed, ...]:
    """Which of `signers` have signed this bundle, whole; one at least, in their order.

    signatures: by name, as found; none of them is trusted. what: how refusals name the bundle. Raises Unsigned,
    WronglySigned or SignedByAnother, in this order of what is told where several are no good: a signature that claims
    to be by one of `signers` and is not, then strangers'.
    """
    vouching: dict[Signer, str] = {}
    refusals: list[SignatureRefused] = []
    for name, content in sorted(signatures.items()):
        try:
            vouching[_signer_of(bundle, name, content, signers, what)] = name
        except SignatureRefused as refusal:
            refusals.append(refusal)
    if vouching:
        return tuple(Signed(signer, vouching[signer]) for signer in signers if signer in vouching)
    if refusals:
        raise min(refusals, key=lambda refusal: not isinstance(refusal, WronglySigned))
    raise Unsigned(
        what, expected=f"a signature by {_names(signers)}", got="none: it is unsigned",
        hint="Sign it with roost sign, after checking where it comes from.",
    )  # fmt: skip


def _signer_of(
    bundle: VerifiedBundle, name: str, content: bytes, signers: Sequence[Signer], what: str
) -> Signer:
    """Who has made one signature. Raises WronglySigned or SignedByAnother."""
    expected = f"a signature by {_names(signers)}"
    try:
        fingerprint = _fingerprint_in(content, name)
    except ArtifactError as error:
        got = f"{name}, which is no signature ({error.field}: expected {error.expected}, got {error.got})"
        raise WronglySigned(what, expected=expected, got=got, hint=_SIGN_ANEW) from None
    signer = next((signer for signer in signers if signer.fingerprint == fingerprint), None)
    if signer is None:
        raise SignedByAnother(
            what, expected=expected, got=f"{name}, by an unknown key, fingerprint {shown(fingerprint)}",
            hint="Have it signed by one of them, or count that key in if you know whose it is.",
        )  # fmt: skip
    flaw = _flaw(bundle, content, signer)
    if flaw:
        raise WronglySigned(what, expected=f"a signature by {signer.name}", got=f"{name}, {flaw}", hint=_SIGN_ANEW)
    return signer


_SIGN_ANEW: Final = "Do not serve it: see who changed what, then sign it anew with roost sign."


def _flaw(bundle: VerifiedBundle, content: bytes, signer: Signer) -> str:
    """What is wrong with a signature that names the signer's key, or ""."""
    verifying = _library("verifying")
    hashed = _Hashed(bundle)
    with _as_file(signer.public_pem) as public, _as_file(content) as signature:
        config = verifying.Config().set_hashing_config(hashed).use_elliptic_key_verifier(public_key=public)
        try:
            config.verify(bundle.manifest.name, signature)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever parsers raise at hostile JSON: no signature
            if hashed.asked:
                return "made for other bytes: another bundle's, or a file has changed since"
            return f"damaged: that key did not make it ({type(error).__name__})"
    return ""


def _fingerprint_in(content: bytes, what: str) -> str:
    """Of the key that it claims to be by. Raises BadDocument."""
    if len(content) > SIGNATURE_BYTES_MAX:
        raise BadDocument(
            what, expected=f"at most {SIGNATURE_BYTES_MAX} bytes", got=f"{len(content)}", hint="Sign it anew."
        )
    found: Any = canonical_json.parse(content, what)
    for key in ("verificationMaterial", "publicKey", "hint"):
        found = found.get(key) if isinstance(found, dict) else None
    return check_digest(found if isinstance(found, str) else "", "publicKey.hint")


@dataclass
class _Hashed:
    """A bundle as the library asks for it: a hashing configuration that knows the digests already.

    asked: set once they were, which is after the signature itself has been found to be the key's.
    """

    bundle: VerifiedBundle
    asked: bool = False

    def hash(self, model_path: object, *, files_to_hash: Iterable[object] | None = None) -> Any:
        """All files of the bundle's folder, each with its sha256."""
        from model_signing import manifest
        from model_signing._hashing.hashing import Digest  # as in a statement; the library makes none for others

        self.asked = True
        own = self.bundle.manifest
        sha256 = {name: entry.sha256 for name, entry in own.files.items()}
        sha256 |= {MANIFEST_FILE: own.digest, DIGEST_FILE: sha256_hex(own.digest_line())}
        items = [
            manifest.FileManifestItem(path=PurePosixPath(name), digest=Digest("sha256", bytes.fromhex(digest)))
            for name, digest in sha256.items()
        ]
        arguments = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
        return manifest.Manifest(own.name, items, manifest.SerializationType.from_args(arguments))

    def add_ignored_paths(self, *, model_path: object, paths: object) -> None:
        """Ignores none: a signature that leaves a file out does not cover the bundle."""


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """A path for the library, of memory only: neither a key nor what is being checked lies on a disk for others."""
    with os.fdopen(os.memfd_create("roost-signing", os.MFD_CLOEXEC), "wb") as file:
        file.write(content)
        file.flush()
        yield Path(f"/proc/self/fd/{file.fileno()}")


def _library(module: str) -> Any:
    try:
        # Here: it takes a third of a second, and 50 MB, of who needs it.
        from model_signing import signing, verifying
    except ImportError as error:
        raise missing_library(error) from error
    return {"signing": signing, "verifying": verifying}[module]


def _names(signers: Sequence[Signer]) -> str:
    return signers[0].name if len(signers) == 1 else "one of " + ", ".join(signer.name for signer in signers)
