"""When a version served, by the journal's entries. Pure.

Used by `gathering.py`. Always: it agrees with `roost journal show --at` at every moment, since both take the latest
entry that is not after it, "latest" by its place in the journal: where the wall clock was set back, the later entry
counts. An interval is what was decided; whether the server was up meanwhile, the journal does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

PLACES: Final = ("stable", "canary", "shadow")
ALL_PPM: Final = 1_000_000
STARTS: Final = frozenset({"started", "incident"})
"""Kinds of entries that are about a version although they leave it where it was."""


@dataclass(frozen=True)
class Stay:
    """A time in one place. until_utc: None where the journal ends with it.

    place: "stable", "canary" or "shadow". weights_ppm: a canary's shares of the traffic, in their order; else empty.
    """

    place: str
    since_utc: str
    until_utc: str | None
    weights_ppm: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Span:
    """What was so from one entry until the next that counts."""

    since_utc: str
    until_utc: str | None
    then: Mapping[str, Any]


def stays(entries: Sequence[Mapping[str, Any]], digest: str) -> tuple[Stay, ...]:
    """In the order of their beginnings. entries: of one model, oldest first, as the journal has them.

    Raises ValueError for an entry whose time is none.
    """
    found: list[Stay] = []
    open_stays: dict[str, Stay] = {}
    for span in _spans([entry for entry in entries if isinstance(entry.get("to"), Mapping)]):
        for place in PLACES:
            here = digest_in(span.then, place) == digest
            before = open_stays.pop(place, None)
            if here:
                weights = _weights(span.then) if place == "canary" else ()
                open_stays[place] = _longer(before, span, place, weights)
            elif before is not None:
                found.append(before)
    return tuple(sorted([*found, *open_stays.values()], key=lambda stay: moment(stay.since_utc)))


def about(entries: Sequence[Mapping[str, Any]], digest: str) -> tuple[Mapping[str, Any], ...]:
    """The entries that put the version somewhere else, or tell of it while it was a canary, and a server's starts."""
    return tuple(entry for entry in entries if _is_about(entry, digest))


def digest_in(where: object, place: str) -> str | None:
    """Whose digest is in that place of an entry's `from` or `to`."""
    held = where.get(place) if isinstance(where, Mapping) else None
    digest = held.get("digest") if isinstance(held, Mapping) else None
    return digest if isinstance(digest, str) else None


def moment(at_utc: object) -> datetime:
    """Raises ValueError for what is no time; UTC where it names no zone."""
    if not isinstance(at_utc, str):
        raise ValueError("at_utc: expected a time like 2026-01-31T14:03:00Z, got none")
    try:
        found = datetime.fromisoformat(at_utc)
    except ValueError:
        raise ValueError(f"at_utc: expected a time like 2026-01-31T14:03:00Z, got {at_utc!r:.40}") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _spans(entries: Sequence[Mapping[str, Any]]) -> Iterator[_Span]:
    """An entry counts until the earliest time of any entry behind it; not at all where that is not later."""
    texts = [str(entry.get("at_utc")) for entry in entries]
    times = [moment(entry.get("at_utc")) for entry in entries]
    ends: list[int | None] = [None] * len(entries)
    for index in range(len(entries) - 2, -1, -1):
        behind = ends[index + 1]
        ends[index] = index + 1 if behind is None or times[index + 1] <= times[behind] else behind
    for entry, text, time, end in zip(entries, texts, times, ends, strict=True):
        if end is None or time < times[end]:
            yield _Span(text, None if end is None else texts[end], entry["to"])


def _longer(before: Stay | None, span: _Span, place: str, weights: tuple[int, ...]) -> Stay:
    if before is None:
        return Stay(place, span.since_utc, span.until_utc, weights)
    same = not weights or before.weights_ppm[-1:] == weights
    return replace(before, until_utc=span.until_utc, weights_ppm=before.weights_ppm + (() if same else weights))


def _weights(then: Mapping[str, Any]) -> tuple[int, ...]:
    weight = then.get("weight_ppm")
    return (weight,) if type(weight) is int and 0 <= weight <= ALL_PPM else ()


def _is_about(entry: Mapping[str, Any], digest: str) -> bool:
    before, after = entry.get("from"), entry.get("to")
    if any(digest_in(where, place) == digest for where in (before, after) for place in ("canary", "coming")):
        return True
    if any((digest_in(before, place) == digest) is not (digest_in(after, place) == digest) for place in PLACES):
        return True
    if digest in _quarantined(before) ^ _quarantined(after) | _changed(entry):
        return True
    kind = entry.get("kind")
    return isinstance(kind, str) and kind in STARTS and digest_in(after, "stable") == digest


def _quarantined(where: object) -> set[str]:
    held = where.get("quarantine") if isinstance(where, Mapping) else None
    return {one for one in held if isinstance(one, str)} if isinstance(held, list | tuple) else set()


def _changed(entry: Mapping[str, Any]) -> set[str]:
    """Where the two lists were too long to be kept, an entry names what was added and let out."""
    change = entry.get("quarantine_change")
    lists = [change.get(key) for key in ("added", "released")] if isinstance(change, Mapping) else []
    return {one for held in lists if isinstance(held, list | tuple) for one in held if isinstance(one, str)}
