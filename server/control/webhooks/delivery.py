"""A delivery: one event on its way to one receiver. Pure.

Always: the document is written once, when the event happens, so that every attempt sends the same bytes under the same
id; it is bounded, ASCII, and JSON whatever the event's detail holds.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from server.settings_values import WebhookKind

TEXT_CHARACTERS_MAX: Final = 2000
DETAIL_BYTES_MAX: Final = 32_768
ID_PREFIX: Final = "evt_"
TOO_LONG: Final = "too long"
NOT_JSON: Final = "not JSON"

IMPORTANCE: Final[Mapping[WebhookKind, int]] = {
    "promote": 0,
    "drift": 1,
    "alert": 1,
    "incident": 2,
    "quarantine": 3,
    "rollback": 3,
}
"""Where not all can be kept, those of the lowest number go first."""


@dataclass(frozen=True)
class Delivery:
    """at_s: when the event was posted, seconds since 1970. attempts: those that failed."""

    id: str
    kind: WebhookKind
    body: str
    at_s: float
    attempts: int = 0


def new_id(random_: random.Random) -> str:
    """128 random bits."""
    return f"{ID_PREFIX}{random_.getrandbits(128):032x}"


def document(id_: str, time: str, kind: WebhookKind, model: str, text: str, detail: Mapping[str, Any]) -> str:
    """The body. time: ISO 8601, UTC. A detail that can't be sent is null, and `detail_left_out` says why."""
    content: dict[str, Any] = {
        "id": id_,
        "time": time,
        "kind": kind,
        "model": model,
        "text": text[:TEXT_CHARACTERS_MAX],
        "detail": None,
    }
    left_out = _left_out(detail)
    return _encode(content | ({"detail_left_out": left_out} if left_out else {"detail": detail}))


def _left_out(detail: Mapping[str, Any]) -> str:
    """Why it can't be sent; empty where it can."""
    try:
        return TOO_LONG if len(_encode(detail)) > DETAIL_BYTES_MAX else ""
    except (TypeError, ValueError, RecursionError):  # no such type, NaN or a circle, too deep
        return NOT_JSON


def _encode(document: Mapping[str, Any]) -> str:
    """ASCII, so that half a surrogate pair stays within JSON."""
    return json.dumps(document, allow_nan=False, separators=(",", ":"))
