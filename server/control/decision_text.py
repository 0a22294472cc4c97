"""A decision as the plane's ring keeps it: the journal's entry and the state after it, in one short text.

Written before the route is published, read by the control process that comes after a crash. Always: it fits the ring.
Where it would not, the evidence is left out, then reasons, then who was quarantined (the state folder has that).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from native.plane.decisions import TEXT_BYTES_MAX

REASON_KEPT: Final = 40


@dataclass(frozen=True)
class Decision:
    """entry: the journal's. state: a state document; its "quarantine" is None where it did not fit."""

    entry: Mapping[str, Any]
    state: Mapping[str, Any]


def decision_text(decision: Decision) -> str:
    for entry, state in _shorter_and_shorter(dict(decision.entry), dict(decision.state)):
        plain = json.dumps({"entry": entry, "state": state}, separators=(",", ":")).encode()
        text = base64.b85encode(zlib.compress(plain, 9)).decode("ascii")
        if len(text) <= TEXT_BYTES_MAX:
            return text
    raise AssertionError("a state without its quarantine fits")


def read_decision(text: str) -> Decision:
    """Raises ValueError for what is none."""
    try:
        document = json.loads(zlib.decompress(base64.b85decode(text)))
        return Decision(dict(document["entry"]), dict(document["state"]))
    except (zlib.error, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"decision: expected what this build writes, got {error!r}") from error


def _shorter_and_shorter(entry: dict[str, Any], state: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    yield entry, state
    entry = {**entry, "evidence": {"left_out": "too long to be kept over a crash"}}
    yield entry, state
    state = {**state, "quarantine": {digest: why[:REASON_KEPT] for digest, why in state["quarantine"].items()}}
    yield entry, state
    ends: dict[str, Any] = {name: {**entry[name], "quarantine": None} for name in ("from", "to") if name in entry}
    yield {**entry, **ends}, {**state, "quarantine": None}
    # Whatever is left to say is cut: a decision is never held up by it.
    whole: dict[str, Any] = {**entry, **ends}
    told = {name: value[:REASON_KEPT] if isinstance(value, str) else value for name, value in whole.items()}
    yield told, {**state, "quarantine": None, "released": []}
