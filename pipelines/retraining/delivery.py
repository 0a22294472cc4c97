"""A delivery of a Roost server's webhook: whether it is the server's, whether it is of now, and what it tells. Pure.

Used by `receiver.py`. The scheme is that of Standard Webhooks 1.0 with a shared secret (docs/reference/webhooks.md).
Always: nothing of a body is read before its signature counts; what is taken from it is bounded and printable.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipelines.refusal import Refusal

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
PREFIX: Final = b"whsec_"
VERSION: Final = "v1"
TOLERANCE_S: Final = 300
"""Between the sender's clock and ours: what was caught on its way is worth nothing after that."""
BODY_BYTES_MAX: Final = 131_072
"""A server sends 32,768 bytes of detail and 2,000 characters of text, each of them twelve bytes of JSON at most."""
KEY_BYTES_MIN: Final = 16
TEXT_CHARACTERS_MAX: Final = 500
NAME_CHARACTERS_MAX: Final = 100
SEE: Final = "docs/reference/webhooks.md shows one."
ID: Final = re.compile(r"[!-~]{1,200}")
TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")


class Unsigned(Exception):
    """It is not the server's, or not of now. The text is for the sender: what was expected, and what to do."""


class NoEvent(Exception):
    """It is the server's, and no event."""


@dataclass(frozen=True)
class Alert:
    """What a server told. id: the event's, the same at every attempt. model: "" where it is the whole server's.

    signal: of drift, what has drifted; "" where that is not told. at_utc: when, as the server wrote it.
    """

    id: str
    kind: str
    model: str
    signal: str
    text: str
    at_utc: str


def key_of(secret: bytes) -> bytes:
    """A secret's key: base64 behind `whsec_`, any other text as it is. Raises Refusal, which does not show it."""
    text = secret.strip()
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True) if text.startswith(PREFIX) else text
    except binascii.Error:
        raise Refusal(
            "--secret-file", expected=f"base64 behind {PREFIX.decode()}", got="something else", hint="Write it anew."
        ) from None
    if len(key) < KEY_BYTES_MIN:
        raise Refusal(
            "--secret-file", expected=f"a secret of at least {KEY_BYTES_MIN} bytes", got=f"{len(key)}",
            hint="This makes one: echo whsec_$(openssl rand -base64 32).",
        )  # fmt: skip
    return key


def verified_id(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now_s: float) -> str:
    """The event's id, if one of the keys has signed headers and body. headers: names in lower case. Raises Unsigned."""
    id_, timestamp, signatures = (headers.get(name, "") for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER))
    if not (ID.fullmatch(id_) and TIMESTAMP.fullmatch(timestamp) and signatures):
        raise Unsigned(
            f"expected the headers {ID_HEADER}, {TIMESTAMP_HEADER} and {SIGNATURE_HEADER}. Post from a Roost server."
        )
    content = f"{id_}.{timestamp}.".encode() + body
    if not any(_signed(key, content, one) for key in keys for one in signatures.split()):
        raise Unsigned("expected a signature by the shared secret. Give the server and this program the same one.")
    # After the signature, so that nobody else is told how our clock stands.
    off_s = now_s - int(timestamp)
    if abs(off_s) > TOLERANCE_S:
        raise Unsigned(
            f"expected an attempt of the last {TOLERANCE_S} s, got one from {off_s:.0f} s ago. Compare both clocks."
        )
    return id_


def _signed(key: bytes, content: bytes, given: str) -> bool:
    version, _, signature = given.partition(",")
    expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256))
    return version == VERSION and hmac.compare_digest(signature.encode(), expected)


def read_alert(id_: str, body: bytes) -> Alert:
    """id_: as it was verified. Raises NoEvent."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoEvent(f"expected an event in JSON, got {type(error).__name__}. {SEE}") from error
    if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
        raise NoEvent(f"expected an event with its kind, got other JSON. {SEE}")
    detail = document.get("detail")
    return Alert(
        id=id_,
        kind=_words(document["kind"], NAME_CHARACTERS_MAX),
        model=_words(document.get("model"), NAME_CHARACTERS_MAX),
        signal=_words(detail.get("signal") if isinstance(detail, dict) else None, NAME_CHARACTERS_MAX),
        text=_words(document.get("text"), TEXT_CHARACTERS_MAX),
        at_utc=_words(document.get("time"), NAME_CHARACTERS_MAX),
    )


def _words(value: Any, characters_max: int) -> str:
    """As it may stand in a log, in a title, and in UTF-8."""
    text = value if isinstance(value, str) else ""
    return "".join(char if char.isprintable() else " " for char in text[:characters_max])
