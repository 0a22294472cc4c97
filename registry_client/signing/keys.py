"""Keys: the private one that signs, the public ones that say who has. P-256, as PEM, read once and kept in memory.

Used by `roost sign`, `roost verify` and servers that ask for signatures. Always: a key that cannot be used is a BadKey
of one line that says what came and how to make one; a private key stands in no message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from registry_client.errors import BadKey, MissingLibrary
from registry_client.manifest import is_model_name, sha256_hex

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

KEY_BYTES_MAX: Final = 65_536
CURVE: Final = "secp256r1"  # P-256, as SEC 2 calls it
OWNER: Final = "the key's owner"

MAKE_PRIVATE: Final = "Make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem."
MAKE_PUBLIC: Final = "Its owner makes one: openssl ec -in key.pem -pubout -out public.pem."


@dataclass(frozen=True)
class Signer:
    """Somebody whose signature counts. fingerprint: sha256 of `public_pem` in hex, by which signatures name their key.

    `openssl ec -in key.pem -pubout | sha256sum` tells the same.
    """

    name: str
    public_pem: bytes

    @property
    def fingerprint(self) -> str:
        return sha256_hex(self.public_pem)


@dataclass(frozen=True)
class SigningKey:
    """Signs. owner: its public half."""

    owner: Signer
    private_pem: bytes = field(repr=False)


def read_signing_key(path: Path, what: str = "--key") -> SigningKey:
    """The P-256 private key in `path`. Raises BadKey."""
    serialization, unsupported = _library()
    wanted = "an unencrypted P-256 private key as PEM"
    content = _read(path, what, wanted, MAKE_PRIVATE)
    if b"-----BEGIN PUBLIC KEY" in content:
        raise BadKey(what, expected=wanted, got=f"a public key in {path}", hint="Give its private half, which signs.")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError:
        raise BadKey(
            what, expected=wanted, got=f"one with a passphrase in {path}",
            hint=f"Take it off into a file that only you can read: (umask 077; openssl ec -in {path} -out plain.pem).",
        ) from None  # fmt: skip
    except (ValueError, unsupported) as error:
        raise BadKey(what, expected=wanted, got=f"none in {path} ({_said(error)})", hint=MAKE_PRIVATE) from None
    return SigningKey(Signer(OWNER, _public_pem(key.public_key(), what, wanted, MAKE_PRIVATE)), content)


def read_signer(text: str, what: str) -> Signer:
    """`NAME=FILE`, of a P-256 public key. what: the option or setting, for refusals. Raises BadKey."""
    name, path = split_signer(text, what)
    serialization, unsupported = _library()
    what, wanted = f"{what}: {name}", "a P-256 public key as PEM"
    content = _read(path, what, wanted, MAKE_PUBLIC)
    if b"PRIVATE KEY-----" in content:
        raise BadKey(
            what, expected=wanted, got=f"a private key in {path}",
            hint=f"Keep it away from here and give its public half: openssl ec -in {path} -pubout -out public.pem.",
        )  # fmt: skip
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, unsupported) as error:
        raise BadKey(what, expected=wanted, got=f"none in {path} ({_said(error)})", hint=MAKE_PUBLIC) from None
    return Signer(name, _public_pem(key, what, wanted, MAKE_PUBLIC))


def read_signers(texts: Iterable[str], what: str) -> tuple[Signer, ...]:
    """Each with a name and a key of its own: else it would not be clear who signed. Raises BadKey."""
    signers: list[Signer] = []
    for text in texts:
        signer = read_signer(text, what)
        for other in signers:
            if other.name == signer.name or other.fingerprint == signer.fingerprint:
                raise BadKey(
                    f"{what}: {signer.name}", expected="a name and a key of its own",
                    got=f"those of {other.name}" if other.name != signer.name else "the name twice",
                    hint="Remove one of the two.",
                )  # fmt: skip
        signers.append(signer)
    return tuple(signers)


def split_signer(text: str, what: str) -> tuple[str, Path]:
    """Raises BadKey."""
    name, equals, path = text.partition("=")
    if not equals or not path or not is_model_name(name):
        raise BadKey(
            what, expected="NAME=FILE, the name of letters, digits, '.', '_' or '-'", got=repr(text[:120]),
            hint="Like release=release-public.pem.",
        )  # fmt: skip
    return name, Path(path).expanduser()


def _read(path: Path, what: str, wanted: str, hint: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(KEY_BYTES_MAX + 1)
    except OSError as error:
        raise BadKey(what, expected=wanted, got=f"{error.strerror} at {path}", hint=hint) from None
    if len(content) > KEY_BYTES_MAX:
        raise BadKey(what, expected=wanted, got=f"more than {KEY_BYTES_MAX} bytes in {path}", hint=hint)
    return content


def _public_pem(key: Any, what: str, wanted: str, hint: str) -> bytes:
    """As openssl writes it, whatever the file looked like: fingerprints are of these bytes."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != CURVE:
        raise BadKey(what, expected=wanted, got=_kind(key), hint=hint)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _kind(key: EllipticCurvePublicKey | Any) -> str:
    curve = getattr(getattr(key, "curve", None), "name", None)
    return f"one of the curve {curve}" if curve else f"a key of another kind ({type(key).__name__})"


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _library() -> tuple[Any, type[Exception]]:
    """What reads PEM, and what it raises, beside ValueError, for a key that it can't make use of."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise missing_library(error) from error
    return serialization, UnsupportedAlgorithm


def missing_library(error: ImportError) -> MissingLibrary:
    return MissingLibrary(
        "signatures", expected="model-signing and pyOpenSSL to be installed", got=f"{error}",
        hint="Install the extra: pip install roost-server[registry].",
    )  # fmt: skip
