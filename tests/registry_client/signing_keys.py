"""Real keys for tests: P-256 pairs as PEM files, and others that are no good."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

PASSPHRASE = b"a passphrase 3141"


@dataclass(frozen=True)
class Pair:
    """Two files, and the public one as `--signer` takes it."""

    name: str
    private: Path
    public: Path

    @property
    def option(self) -> str:
        return f"{self.name}={self.public}"


def make_pair(folder: Path, name: str) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    pair = Pair(name, folder / f"{name}.pem", folder / f"{name}-public.pem")
    pair.private.write_bytes(private_pem(key))
    pair.public.write_bytes(public_pem(key))
    return pair


def private_pem(key: object, passphrase: bytes | None = None) -> bytes:
    encryption = pem.BestAvailableEncryption(passphrase) if passphrase else pem.NoEncryption()
    return key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption)  # type: ignore[attr-defined]


def public_pem(key: object) -> bytes:
    return key.public_key().public_bytes(  # type: ignore[attr-defined]
        pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo
    )


@functools.cache
def other_keys() -> dict[str, object]:
    """Keys of other kinds, by what they are."""
    return {
        "P-384": ec.generate_private_key(ec.SECP384R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate(),
        "RSA": rsa.generate_private_key(65537, 2048),
    }
