"""Signatures of deliveries, and the secrets that make them.

The scheme is that of Standard Webhooks 1.0 (symmetric, `v1`), so that receivers can verify with its libraries:
HMAC-SHA256 with the secret over `ID.TIMESTAMP.BODY`, in base64. docs/reference/webhooks.md says it for receivers.
Always: a secret is read where it is needed, is kept nowhere, and stands in no error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from server.settings import WebhookSettings

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"

PREFIX: Final = "whsec_"
VERSION: Final = "v1"
KEY_BYTES_MIN: Final = 16
SECRET_BYTES_MAX: Final = 4096  # who names /dev/zero, or a log, gets an error and no full memory


class SecretMissing(ValueError):
    """There is no secret to sign with. The text names the key of the settings, what was expected and what came."""


def read_key(settings: WebhookSettings, environment: Mapping[str, str]) -> bytes:
    """The key of a webhook. Blocks; raises SecretMissing."""
    if settings.secret_file is not None:
        key, secret = "secret_file", _read_file(settings)
    else:
        key, secret = "secret_variable", environment.get(settings.secret_variable or "", "").encode().strip()
        if not secret:
            raise SecretMissing(f"{key}: expected the name of a variable that is set, got one that is not")
    return _decoded(key, secret)


def signed_headers(key: bytes, id_: str, timestamp_s: int, body: bytes) -> tuple[tuple[str, str], ...]:
    """The three headers of an attempt. timestamp_s: the attempt's, seconds since 1970."""
    content = f"{id_}.{timestamp_s}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return (
        (ID_HEADER, id_),
        (TIMESTAMP_HEADER, str(timestamp_s)),
        (SIGNATURE_HEADER, f"{VERSION},{signature}"),
    )


def _read_file(settings: WebhookSettings) -> bytes:
    assert settings.secret_file is not None
    try:
        with settings.secret_file.open("rb") as file:
            secret = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        shown = f"{str(settings.secret_file)!r}: {error.strerror}"
        raise SecretMissing(f"secret_file: expected a file that can be read, got {shown}") from None
    if len(secret) > SECRET_BYTES_MAX:
        raise SecretMissing(f"secret_file: expected at most {SECRET_BYTES_MAX} bytes, got more")
    return secret.strip()


def _decoded(name: str, secret: bytes) -> bytes:
    """Standard Webhooks writes a key as base64 behind a prefix; any other text is the key itself."""
    key = secret
    if secret.startswith(PREFIX.encode()):
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX.encode()), validate=True)
        except binascii.Error:
            raise SecretMissing(f"{name}: expected base64 behind {PREFIX}, got something else") from None
    if len(key) < KEY_BYTES_MIN:
        raise SecretMissing(f"{name}: expected a secret of at least {KEY_BYTES_MIN} bytes, got {len(key)}")
    return key
