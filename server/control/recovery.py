"""Recovery: what each model's state is when a control process starts.

A control process that follows another one finds the plane's routes and decisions: they are the truth, and what journal
and registry miss is made up for. The first one of a server has the pins of the parent, and what the state folder kept:
a rollout that was under way goes on where the same version is stable again. Pure: the plane and the folder were read
before. Always: what was quarantined stays so; a decision that was noted but not published was never taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from native.plane.routes import Route, SeatRef
from native.plane.seats import Seat
from server.control.decision_text import Decision, quarantine_after, read_decision
from server.control.state_document import read_state
from server.control.state_folder import KeptState
from server.lifecycle.journal import Line
from server.lifecycle.state import Artifact, ModelState
from server.lifecycle.step import served
from server.processes import ModelPin

NOTES = frozenset({"incident", "withheld"})
"""Kinds of entries that are no decisions: they have the revision that stood."""


@dataclass(frozen=True)
class Beginning:
    """A model at the start of a server: its state, and the entry that tells so."""

    kept: KeptState
    entry: Mapping[str, Any]


# --- The first control process of a server ---------------------------------------------------------------------------
def begin(pin: ModelPin, kept: KeptState | None, lines: Iterable[Line], now_ns: int, at_utc: str) -> Beginning:
    """What is served first. lines: the journal's, whose last revision is not given again."""
    before = kept if kept is not None else KeptState(ModelState(pin.name))
    model = before.model
    revision = max([model.revision, *(_revision(line.entry) for line in lines if line.entry.get("model") == pin.name)])
    after = replace(_first(pin, model, now_ns), revision=revision + 1)
    entry = {
        "model": pin.name,
        "revision": after.revision,
        "kind": "started",
        "at_utc": at_utc,
        "from": served(model),
        "to": served(after),
        "evidence": {},
    }
    return Beginning(replace(before, model=after), entry)


def _first(pin: ModelPin, model: ModelState, now_ns: int) -> ModelState:
    pinned = Artifact(pin.version, pin.digest)
    fresh = replace(model, canary=None, shadow=None, shadow_started=False, coming=None, ready=frozenset({pin.digest}))
    if pin.digest in model.quarantine:
        # The registry, or the command line, still names what was found to be bad.
        homes = (home for home in (model.stable, model.last_safe) if home is not None)
        coming = next((home for home in homes if home.digest not in model.quarantine), None)
        return replace(fresh, stable=None, last_safe=None, coming=coming, ready=frozenset())
    if model.stable is None or model.stable.digest != pin.digest:
        homes = (home for home in (model.stable, model.last_safe) if home is not None)
        safe = (home for home in homes if home.digest not in model.quarantine and home.digest != pin.digest)
        return replace(fresh, stable=pinned, last_safe=next(safe, None))
    canary = model.canary
    if canary is not None:
        # Loaded and tried again first: whatever ended the server may have been this canary.
        canary = replace(canary, started=False, step_started_ns=now_ns)
    return replace(fresh, stable=pinned, canary=canary, shadow=model.shadow)


# --- A control process that follows another one ----------------------------------------------------------------------
@dataclass(frozen=True)
class Followed:
    """kept: by model, in the order of the settings. decisions: those of the ring that were taken, oldest first."""

    kept: tuple[KeptState, ...]
    decisions: tuple[Decision, ...]


def follow(
    names: Sequence[str],
    routes: Sequence[Route],
    seats: Sequence[Seat],
    texts: Iterable[str],
    kept: Mapping[str, KeptState],
) -> Followed:
    """texts: the ring's, oldest first."""
    revisions = {name: route.revision for name, route in zip(names, routes, strict=True)}
    taken: dict[tuple[str, int], Decision] = {}
    for text in texts:
        try:
            decision = read_decision(text)
        except ValueError:
            continue  # another build's
        name, revision = str(decision.entry.get("model")), _revision(decision.entry)
        if revision <= revisions.get(name, -1):
            # A later text of the same revision: the earlier one was noted, not published.
            taken.pop((name, revision), None)
            taken[name, revision] = decision
    found = []
    for name, route in zip(names, routes, strict=True):
        before = _brought_up(kept.get(name, KeptState(ModelState(name))), taken)
        decided = taken.get((name, route.revision))
        if decided is not None:
            found.append(_decided(decided, before, route.revision))
        elif before.model.revision == route.revision:
            found.append(before)
        else:
            found.append(replace(before, model=_from_route(name, route, seats, before.model)))
    return Followed(tuple(found), tuple(taken.values()))


def missing(decisions: Iterable[Decision], lines: Iterable[Line]) -> tuple[Mapping[str, Any], ...]:
    """Entries of decisions that the journal has not, oldest first."""
    written = {
        (line.entry.get("model"), line.entry.get("revision"))
        for line in lines
        if line.entry.get("kind") not in NOTES
    }  # fmt: skip
    return tuple(
        decision.entry
        for decision in decisions
        if (decision.entry.get("model"), decision.entry.get("revision")) not in written
    )


def requests_of(entries: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """(request id, fingerprint) of all that are operators', oldest first."""
    return tuple(
        (str(entry["request_id"]), str(entry["request"]))
        for entry in entries
        if entry.get("request_id") and entry.get("request")
    )


def _brought_up(before: KeptState, taken: Mapping[tuple[str, int], Decision]) -> KeptState:
    """With the quarantine of the decisions since: the folder is written after them, and may be behind."""
    since = [one for (name, at), one in taken.items() if name == before.model.name and at > before.model.revision]
    quarantine, released = quarantine_after(since, before.model.quarantine, before.released)
    return replace(before, model=replace(before.model, quarantine=quarantine), released=released)


def _decided(decision: Decision, before: KeptState, revision: int) -> KeptState:
    document = dict(decision.state)
    if document.get("quarantine") is None:
        document["quarantine"] = dict(before.model.quarantine)
    released = before.released if document.get("released") is None else frozenset(map(str, document["released"]))
    return replace(before, model=replace(read_state(document), revision=revision), released=released)


def _from_route(name: str, route: Route, seats: Sequence[Seat], before: ModelState) -> ModelState:
    """What the route itself tells, where its decision has left the ring: a canary is then out of its plan's hands."""
    by_ref = {(seat.index, seat.generation): Artifact(seat.version, seat.digest) for seat in seats}

    def of(ref: SeatRef | None) -> Artifact | None:
        return None if ref is None else by_ref.get((ref.seat, ref.generation))

    canary = before.canary
    if canary is not None and (of(route.canary) is None or of(route.canary) != canary.artifact):
        canary = None
    return replace(
        before,
        name=name,
        revision=route.revision,
        stable=of(route.stable),
        last_safe=of(route.last_safe),
        shadow=of(route.shadow),
        shadow_started=route.shadow is not None,
        canary=None if canary is None else replace(canary, weight_ppm=route.canary_ppm, paused=True),
    )


def _revision(entry: Mapping[str, Any]) -> int:
    revision = entry.get("revision")
    return revision if isinstance(revision, int) else 0
