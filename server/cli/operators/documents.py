"""Messages of the admin service as JSON documents, for scripts. Pure.

Like protobuf's own JSON with field names as in the .proto file and every field there, but for numbers: 64-bit ones are
numbers, which is what scripts compare. The salt alone is text, since it may be more than 2^53.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from google.protobuf.message import Message

AS_TEXT: Final = frozenset({"salt"})


def document(message: Message) -> dict[str, Any]:
    """All fields; a message or an optional value that is not there is null."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def print_json(content: object) -> None:
    """One document on one line. Infinities are text there, as in protobuf's JSON."""
    print(json.dumps(content, ensure_ascii=False, allow_nan=False), flush=True)


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(one, field) for one in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(value, field)


def _value(value: Any, field: Any) -> Any:
    if isinstance(value, Message):
        return document(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return str(value) if field.name in AS_TEXT else value
