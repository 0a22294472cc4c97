"""A decision as the plane's ring keeps it: the journal's entry and the state after it, in one short text.

Written before the route is published, read by the control process that comes after a crash. Always: it fits the ring;
whom it puts in quarantine or lets out is in it. Where it would not fit, the evidence is left out, then reasons, then
who was in quarantine before: the state folder has that, and `quarantine_after` brings it up to date.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from native.plane.decisions import TEXT_BYTES_MAX

REASON_KEPT: Final = 40
CHANGE: Final = "quarantine_change"  # of an entry: {"added": {digest: why}, "released": [digest]}


@dataclass(frozen=True)
class Decision:
    """entry: the journal's; what it changes in quarantine is under CHANGE where the whole did not fit. state: a state
    document; its "quarantine" and "released" are None where they did not fit, or were not known."""

    entry: Mapping[str, Any]
    state: Mapping[str, Any]


def decision_text(decision: Decision) -> str:
    for entry, state in _shorter_and_shorter(dict(decision.entry), dict(decision.state)):
        plain = json.dumps({"entry": entry, "state": state}, separators=(",", ":")).encode()
        text = base64.b64encode(zlib.compress(plain, 9)).decode("ascii")  # base 85 is shorter, and pure Python
        if len(text) <= TEXT_BYTES_MAX:
            return text
    raise AssertionError("a state without its quarantine fits")


def read_decision(text: str) -> Decision:
    """Raises ValueError for what is none."""
    try:
        document = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
        return Decision(dict(document["entry"]), dict(document["state"]))
    except (zlib.error, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"decision: expected what this build writes, got {error!r}") from error


# In the evidence of a decision that was taken while there was no control process.
BREAK_GLASS: Final = "break_glass"


def without_quarantine(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry, saying that who was in quarantine is not known."""
    return {**entry, **{name: {**entry[name], "quarantine": None} for name in ("from", "to") if name in entry}}


def quarantine_after(
    decisions: Iterable[Decision], quarantine: Mapping[str, str], released: Iterable[str]
) -> tuple[dict[str, str], frozenset[str]]:
    """Who is in quarantine and who was released, after decisions that came after what is given; the oldest first."""
    held, free = dict(quarantine), set(released)
    for decision in decisions:
        change = decision.entry.get(CHANGE, {})
        added, let_out = dict(change.get("added", {})), set(change.get("released", ()))
        held = {digest: why for digest, why in held.items() if digest not in let_out} | added
        free = (free | let_out) - added.keys()
        if decision.state.get("quarantine") is not None:
            held = dict(decision.state["quarantine"])
        if decision.state.get("released") is not None:
            free = set(decision.state["released"])
    return held, frozenset(free)


def _shorter_and_shorter(entry: dict[str, Any], state: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    yield entry, state
    entry = {**entry, "evidence": {"left_out": "too long to be kept over a crash"}}
    yield entry, state
    reasons = {digest: why[:REASON_KEPT] for digest, why in (state["quarantine"] or {}).items()}
    if state["quarantine"] is not None:
        yield entry, {**state, "quarantine": reasons}
    entry = without_quarantine(entry) | _change(entry, reasons)
    yield entry, {**state, "quarantine": None}
    yield entry, {**state, "quarantine": None, "released": None}
    # Whatever is left to say is cut: a decision is never held up by it.
    told = {name: value[:REASON_KEPT] if isinstance(value, str) else value for name, value in entry.items()}
    yield told, {**state, "quarantine": None, "released": None}


def _change(entry: Mapping[str, Any], reasons: Mapping[str, str]) -> dict[str, Any]:
    before, after = (set(entry.get(name, {}).get("quarantine") or ()) for name in ("from", "to"))
    if before == after:
        return {}
    added = {digest: reasons.get(digest, "") for digest in sorted(after - before)}
    return {CHANGE: {"added": added, "released": sorted(before - after)}}
