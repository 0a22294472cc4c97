"""Fields of requests, checked: each function returns the value or raises the refusal that names the field.

Used by the servicer's methods. Pure. Texts of operators go to the journal and to terminals, so that they are bounded
and printable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from native.plane.routing import PPM
from protos.roost.v1 import admin_pb2
from registry_client.names import ALIAS, VERSION
from server.control.drift.windows import WindowKind
from server.control.operations.refusal import bad_field, shown

OPERATOR_MAX: Final = 100
REASON_MAX: Final = 500
REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
DIGEST_PREFIX: Final = re.compile(r"[0-9a-f]{8,64}")
DIGEST_LENGTH: Final = 64
PLAN_BYTES_MAX: Final = 16_384
JOURNAL_LIMIT: Final = 100
JOURNAL_LIMIT_MAX: Final = 1000


@dataclass(frozen=True)
class Who:
    """An operation's author: see admin.proto, Operation."""

    operator: str
    reason: str
    request_id: str
    if_revision: int | None


def read_operation(operation: admin_pb2.Operation) -> Who:
    operator = _text("operation.operator", operation.operator, OPERATOR_MAX, "Say who you are, like ada@example.org.")
    reason = _text("operation.reason", operation.reason, REASON_MAX, "Say why: the journal keeps it.")
    if not REQUEST_ID.fullmatch(operation.request_id):
        raise bad_field(
            "operation.request_id",
            expected="1 to 128 printable ASCII characters without blanks",
            got=shown(operation.request_id),
            hint="Give each operation an id of its own, such as a UUID, and the same one when you try again.",
        )
    revision = operation.if_revision if operation.HasField("if_revision") else None
    if revision is not None and revision < 0:
        raise bad_field(
            "operation.if_revision",
            expected="0 or more",
            got=str(revision),
            hint="`roost status` (DescribeModel) tells it.",
        )
    return Who(operator, reason, operation.request_id, revision)


def _text(field: str, text: str, characters_max: int, hint: str) -> str:
    stripped = text.strip()
    if not stripped or len(stripped) > characters_max or not stripped.isprintable():
        raise bad_field(field, expected=f"1 to {characters_max} printable characters", got=shown(text), hint=hint)
    return stripped


def read_ppm(field: str, message: Message, name: str) -> int:
    """A share that must be there, 0 to PPM."""
    if not message.HasField(name):
        raise bad_field(field, expected=f"0 to {PPM} millionths", got="none", hint="5 % is 50000.")
    ppm = int(getattr(message, name))
    if not 0 <= ppm <= PPM:
        raise bad_field(field, expected=f"0 to {PPM} millionths", got=str(ppm), hint="5 % is 50000.")
    return ppm


def read_reference(field: str, text: str) -> str:
    """A version's number, or an alias with its "@"."""
    if VERSION.fullmatch(text) or (text.startswith("@") and ALIAS.fullmatch(text[1:])):
        return text
    raise bad_field(
        field,
        expected="a version's number like 3, or an alias like @canary",
        got=shown(text),
        hint="`roost status MODEL` shows those of the registry.",
    )


def read_digest(text: str) -> str:
    """A digest or its beginning."""
    lowered = text.strip().lower()
    if not DIGEST_PREFIX.fullmatch(lowered):
        raise bad_field(
            "digest",
            expected="a sha256 in hexadecimal, or at least its first 8 digits",
            got=shown(text),
            hint="`roost status MODEL` shows digests.",
        )
    return lowered


def read_plan_json(text: str) -> str:
    if len(text.encode()) > PLAN_BYTES_MAX:
        raise bad_field(
            "plan_json",
            expected=f"at most {PLAN_BYTES_MAX} bytes",
            got=f"{len(text.encode())}",
            hint="Use fewer steps.",
        )
    return text


def read_length(text: str) -> WindowKind | None:
    """Of windows; None where none is asked for."""
    if not text:
        return None
    for kind in WindowKind:
        if kind.word == text:
            return kind
    lengths = ", ".join(kind.word for kind in WindowKind)
    raise bad_field("counts_of", expected=f"one of {lengths}", got=shown(text), hint="Or leave it out.")


def read_limit(limit: int) -> int:
    if not 0 <= limit <= JOURNAL_LIMIT_MAX:
        raise bad_field(
            "limit", expected=f"1 to {JOURNAL_LIMIT_MAX}, or 0 for {JOURNAL_LIMIT}", got=str(limit),
            hint="The journal's own file has all of them.",
        )  # fmt: skip
    return limit or JOURNAL_LIMIT
