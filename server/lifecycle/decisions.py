"""A decision: the next state, its revision, its entry, and what must be done; and those that several events take.

Used by `requests` and `facts`. Always: a decision raises the revision by one, and its actions begin with the route, the
entry and the registry, in this order; whatever is not needed any more is asked to leave after that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from server.lifecycle.actions import Action, Journal, Load, ProjectRegistry, StoreRoute, Unload
from server.lifecycle.events import Event, Request
from server.lifecycle.state import Artifact, ModelState, Rollout

Outcome = tuple[ModelState, tuple[Action, ...]]

# In `ModelState.withheld`, before the digest of
HOME: Final = "home:"  # what leaves as soon as no freeze is left,
STAYS: Final = "stays:"  # and of what was judged worse, and is an operator's to take back.


def decided(
    before: ModelState,
    event: Event,
    kind: str,
    evidence: Mapping[str, Any] | None = None,
    *,
    urgent: bool = False,
    why: str = "",
    **changes: Any,
) -> Outcome:
    """One revision, one route, one entry; then what must be loaded for it, and what may leave.

    why: of what nobody asked for; an operator's reason is in the request.
    """
    after = _settled(replace(before, revision=before.revision + 1, **changes))
    leaving = [artifact for digest, artifact in before.needed.items() if digest not in after.needed]
    after = replace(after, ready=after.ready - {artifact.digest for artifact in leaving})
    wanted = [artifact for digest, artifact in after.needed.items() if digest not in before.needed]
    entry = _entry(before, after, event, kind, evidence)
    if why:
        entry["why"] = why
    actions: list[Action] = [StoreRoute(after, entry, urgent), Journal(entry), ProjectRegistry(after)]
    actions += [Load(artifact) for artifact in wanted]
    actions += [Unload(artifact) for artifact in leaving]
    return after, tuple(actions)


def note(model: ModelState, event: Event, kind: str, evidence: Mapping[str, Any]) -> Journal:
    """An entry that is no decision: it has the revision that stands."""
    return Journal(_entry(model, model, event, kind, evidence))


def withheld(
    model: ModelState, event: Event, key: str, what: str, evidence: Mapping[str, Any] | None = None
) -> Outcome:
    """What a freeze or a setting keeps from being done is said once."""
    if key in model.withheld:
        return model, ()
    noted = replace(model, withheld=model.withheld | {key})
    return noted, (note(noted, event, "withheld", {"withheld": what, **(evidence or {})}),)


def go_home(model: ModelState, event: Event, digest: str, why: str, evidence: Mapping[str, Any]) -> Outcome:
    """What was found to be bad by itself leaves, unless all automatic action is frozen."""
    if model.frozen:
        return withheld(model, event, HOME + digest, f"taking {digest[:12]} back: {why}", evidence)
    return put_away(model, event, digest, why, "went_home", evidence)


def put_away(
    model: ModelState, event: Event, digest: str, why: str, kind: str, evidence: Mapping[str, Any] | None = None
) -> Outcome:
    """Into quarantine, and out of every place that it has."""
    changes: dict[str, Any] = {"quarantine": {**model.quarantine, digest: why}}
    if model.canary is not None and model.canary.artifact.digest == digest:
        changes["canary"] = None
    if model.shadow is not None and model.shadow.digest == digest:
        changes["shadow"] = None
    if model.last_safe is not None and model.last_safe.digest == digest:
        changes["last_safe"] = None
    if model.coming is not None and model.coming.digest == digest:
        changes["coming"] = None
    after = replace(model, **changes)
    if model.stable is not None and model.stable.digest == digest:
        # A canary has nobody to be compared with any more.
        changes |= {"canary": None, "incidents_ns": ()}
        changes |= {"stable": None, "last_safe": None, "coming": after.last_safe or fallback(after)}
    elif after.stable is None and after.coming is None:
        changes["coming"] = fallback(after)
    asked = isinstance(event, Request)
    return decided(model, event, kind, evidence, urgent=True, why="" if asked else why, **changes)


def promotion(model: ModelState, canary: Rollout) -> dict[str, Any]:
    """What changes where a canary becomes stable."""
    return {"stable": canary.artifact, "last_safe": model.stable, "canary": None, "incidents_ns": ()}


def started(rollout: Rollout, now_ns: int) -> Rollout:
    """With its first weight; after a restart of the server, with the one that it had."""
    weight_ppm = rollout.weight_ppm or rollout.current.weight_ppm
    return replace(rollout, started=True, step_started_ns=now_ns, weight_ppm=weight_ppm)


def fallback(model: ModelState) -> Artifact | None:
    """The newest verified artifact that may be served."""
    return next((artifact for artifact in model.known if artifact.digest not in model.quarantine), None)


def served(model: ModelState) -> dict[str, Any]:
    """Who is where, as entries tell it."""

    def of(artifact: Artifact | None) -> dict[str, str] | None:
        return None if artifact is None else {"version": artifact.version, "digest": artifact.digest}

    canary = model.canary
    return {
        "stable": of(model.stable),
        "canary": of(canary.artifact if canary is not None else None),
        "weight_ppm": model.weight_ppm,
        "shadow": of(model.shadow),
        "last_safe": of(model.last_safe),
        "coming": of(model.coming),
        "frozen": model.frozen,
        "quarantine": sorted(model.quarantine),
    }


def _settled(model: ModelState) -> ModelState:
    """What follows from the places that are given, so that no handler has to think of it.

    What is to come and is loaded already (as last safe, canary or shadow) serves: no news of it would ever come. A
    stable is no shadow of itself. What was withheld from somebody who has left is forgotten.
    """
    if model.coming is not None and model.coming.digest in model.ready:
        model = replace(model, stable=model.coming, coming=None)
    shadow = model.shadow
    if shadow is not None and model.stable is not None and shadow.digest == model.stable.digest:
        shadow = None
    shadow_started = shadow is not None and (model.shadow_started or shadow.digest in model.ready)
    model = replace(model, shadow=shadow, shadow_started=shadow_started)
    on_trial = {before + artifact.digest for artifact in model.on_trial for before in (HOME, STAYS)}
    kept = frozenset(key for key in model.withheld if not key.startswith((HOME, STAYS)) or key in on_trial)
    return replace(model, withheld=kept)


def _entry(
    before: ModelState, after: ModelState, event: Event, kind: str, evidence: Mapping[str, Any] | None
) -> dict[str, Any]:
    who = {}
    if isinstance(event, Request):
        who = {"operator": event.operator, "reason": event.reason, "request_id": event.request_id}
    return {
        "model": after.name,
        "revision": after.revision,
        "kind": kind,
        "at_utc": event.at_utc,
        **who,
        "from": served(before),
        "to": served(after),
        "evidence": dict(evidence or {}),
    }
