"""The step: an event comes in, the next state and what to do about it go out. Pure: time and chance arrive as values.

Used by the control process, one call an event; by the simulation and the tests in the same way.
Always: nothing that is quarantined or not loaded is given traffic; a decision raises the revision by one and is told by
one entry; `last_safe` leaves its place only for the stable's, for a later one, or into quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from server.lifecycle import events
from server.lifecycle.actions import Action, Journal, Load, ProjectRegistry, StoreRoute, Unload
from server.lifecycle.events import Event, Request
from server.lifecycle.plan import PPM, Promotion
from server.lifecycle.refusal import Refused, Why
from server.lifecycle.state import Artifact, ModelState, Rollout

WORSE: Final = "worse"
NOT_WORSE: Final = "not_worse"
INCIDENTS_MAX: Final = 3
INCIDENTS_WITHIN_NS: Final = 5 * 60 * 1_000_000_000

Outcome = tuple[ModelState, tuple[Action, ...]]


def step(model: ModelState, event: Event) -> Outcome:
    """The next state, and the actions in their order. Raises Refused, with nothing changed, for what can't be done."""
    handle = HANDLERS.get(type(event))
    assert handle is not None, type(event)
    return handle(model, event)


# --- What operators ask for ------------------------------------------------------------------------------------------
def _deploy(model: ModelState, event: events.DeployCanary) -> Outcome:
    artifact = event.artifact
    _check_not_quarantined(model, artifact)
    if model.canary is not None:
        raise Refused(
            Why.FAILED_PRECONDITION,
            "version",
            "no canary under way",
            f"version {model.canary.artifact.version} on trial",
            "Promote it or roll it back first.",
        )
    if model.stable is None:
        raise Refused(
            Why.FAILED_PRECONDITION,
            "version",
            "a stable to compare it with",
            "none",
            "Release a version, or wait for one.",
        )
    if model.stable.digest == artifact.digest:
        raise Refused(
            Why.FAILED_PRECONDITION,
            "version",
            "another artifact than the stable's",
            f"version {artifact.version}, which is stable",
            "Choose another version.",
        )
    rollout = Rollout(event.rollout_id, event.salt, artifact, event.plan)
    if artifact.digest in model.ready:
        return _decided(model, event, "canary_started", canary=_started(rollout, event.now_ns))
    return _decided(model, event, "canary_deployed", canary=rollout)


def _set_weight(model: ModelState, event: events.SetWeight) -> Outcome:
    canary = _canary_with_traffic(model)
    if not 0 <= event.weight_ppm <= PPM:
        raise Refused(
            Why.INVALID_ARGUMENT,
            "canary_weight",
            "0 to 100 %",
            f"{event.weight_ppm / PPM:.4%}",
            "The stable has the rest.",
        )
    paused = replace(
        canary, weight_ppm=event.weight_ppm, paused=canary.plan.promotion is not Promotion.NEVER, requests=0
    )
    return _decided(model, event, "weight_set", canary=replace(paused, step_started_ns=event.now_ns))


def _set_shadow(model: ModelState, event: events.SetShadow) -> Outcome:
    artifact = event.artifact
    if artifact is None:
        if model.shadow is None:
            raise Refused(Why.FAILED_PRECONDITION, "version", "a shadow to lift", "none", "There is nothing to do.")
        return _decided(model, event, "shadow_lifted", shadow=None, shadow_started=False)
    _check_not_quarantined(model, artifact)
    if model.stable is not None and model.stable.digest == artifact.digest:
        raise Refused(
            Why.FAILED_PRECONDITION, "version", "another artifact than the stable's", "the stable", "Choose another."
        )
    ready = artifact.digest in model.ready
    return _decided(model, event, "shadow_set", shadow=artifact, shadow_started=ready)


def _promote(model: ModelState, event: events.Promote) -> Outcome:
    canary = _canary_with_traffic(model)
    return _decided(model, event, "promoted", **_promotion(model, canary))


def _rollback(model: ModelState, event: events.Rollback) -> Outcome:
    if model.canary is not None:
        return _decided(model, event, "rolled_back", urgent=True, canary=None)
    home = model.last_safe
    if home is None or home.digest in model.quarantine:
        raise Refused(
            Why.FAILED_PRECONDITION,
            "model",
            "a canary, or a last safe version to go back to",
            "neither",
            "Deploy the version that you want as a canary.",
        )
    return _decided(model, event, "rolled_back", urgent=True, stable=home, last_safe=None, incidents_ns=())


def _quarantine(model: ModelState, event: events.Quarantine) -> Outcome:
    if event.digest in model.quarantine:
        raise Refused(
            Why.FAILED_PRECONDITION, "digest", "one that is not in quarantine", "one that is", "There is nothing to do."
        )
    return _put_away(model, event, event.digest, event.reason, "quarantined")


def _release(model: ModelState, event: events.Release) -> Outcome:
    if event.digest not in model.quarantine:
        raise Refused(
            Why.NOT_FOUND,
            "digest",
            "one in quarantine",
            event.digest[:12],
            "`roost status` lists what is in quarantine.",
        )
    quarantine = {digest: why for digest, why in model.quarantine.items() if digest != event.digest}
    after = replace(model, quarantine=quarantine)
    if model.stable is None and model.coming is None:
        # With nothing safe to serve, what was just declared safe is not left waiting.
        return _decided(model, event, "released", quarantine=quarantine, coming=_fallback(after))
    return _decided(model, event, "released", quarantine=quarantine)


def _freeze(model: ModelState, event: events.Freeze) -> Outcome:
    if model.frozen:
        raise Refused(
            Why.FAILED_PRECONDITION, "model", "one that is not frozen", "one that is", "There is nothing to do."
        )
    return _decided(model, event, "frozen", frozen=True)


def _unfreeze(model: ModelState, event: events.Unfreeze) -> Outcome:
    if not model.frozen:
        raise Refused(
            Why.FAILED_PRECONDITION, "model", "one that is frozen", "one that is not", "There is nothing to do."
        )
    return _decided(model, event, "unfrozen", frozen=False, withheld=frozenset())


def _pause(model: ModelState, event: events.Pause) -> Outcome:
    canary = _canary_on_trial(model)
    if canary.paused:
        raise Refused(Why.FAILED_PRECONDITION, "model", "a plan that goes on", "one that is paused", "Resume it.")
    return _decided(model, event, "paused", canary=replace(canary, paused=True))


def _resume(model: ModelState, event: events.Resume) -> Outcome:
    canary = _canary_on_trial(model)
    if not canary.paused:
        raise Refused(Why.FAILED_PRECONDITION, "model", "a plan that is paused", "one that goes on", "Pause it first.")
    # Where an operator has set another weight meanwhile, the plan goes on with its step's own.
    resumed = replace(canary, paused=False, requests=0, step_started_ns=event.now_ns)
    if canary.started:
        resumed = replace(resumed, weight_ppm=canary.current.weight_ppm)
    return _decided(model, event, "resumed", canary=resumed)


# --- What becomes known ----------------------------------------------------------------------------------------------
def _known(model: ModelState, event: events.Known) -> Outcome:
    model = replace(model, known=event.artifacts)
    if model.stable is None and model.coming is None and (home := _fallback(model)) is not None and not model.frozen:
        return _decided(model, event, "coming", coming=home)
    return model, ()


def _loaded(model: ModelState, event: events.Loaded) -> Outcome:
    if event.digest not in model.needed:
        return model, ()  # late news of what nobody needs any more
    model = replace(model, ready=model.ready | {event.digest})
    if model.coming is not None and model.coming.digest == event.digest:
        return _decided(model, event, "stable_restored", stable=model.coming, coming=None)
    canary = model.canary
    if canary is not None and canary.artifact.digest == event.digest and not canary.started:
        return _decided(model, event, "canary_started", canary=_started(canary, event.now_ns))
    if model.shadow is not None and model.shadow.digest == event.digest and not model.shadow_started:
        return _decided(model, event, "shadow_started", shadow_started=True)
    return model, ()


def _load_failed(model: ModelState, event: events.LoadFailed) -> Outcome:
    evidence = {"failure": event.reason}
    if model.canary is not None and model.canary.artifact.digest == event.digest:
        return _decided(model, event, "canary_refused", evidence, urgent=True, canary=None)
    if model.shadow is not None and model.shadow.digest == event.digest:
        return _decided(model, event, "shadow_refused", evidence, shadow=None, shadow_started=False)
    if model.coming is not None and model.coming.digest == event.digest:
        known = tuple(artifact for artifact in model.known if artifact.digest != event.digest)
        after = replace(model, known=known, coming=None)
        return _decided(model, event, "coming_refused", evidence, known=known, coming=_fallback(after))
    return model, ()


def _judged(model: ModelState, event: events.Judged) -> Outcome:
    canary = model.canary
    if canary is None or canary.artifact.digest != event.digest or not canary.started:
        return model, ()  # late news of a canary that is already gone
    model = replace(model, canary=replace(canary, verdict=event.verdict, requests=event.requests))
    if event.verdict == WORSE:
        return _go_home(model, event, event.digest, "judged to be worse than the stable beside it", event.evidence)
    return _advance(model, event, event.evidence)


def _tick(model: ModelState, event: events.Tick) -> Outcome:
    return _advance(model, event, {})


def _incident(model: ModelState, event: events.Incident) -> Outcome:
    if event.digest in model.quarantine:
        return model, ()
    on_trial = (model.canary.artifact if model.canary is not None else None, model.shadow)
    if any(artifact is not None and artifact.digest == event.digest for artifact in on_trial):
        return _go_home(model, event, event.digest, event.detail, {"incident": event.detail})
    if model.stable is None or model.stable.digest != event.digest:
        return model, ()
    recent = tuple(at for at in model.incidents_ns if event.now_ns - at <= INCIDENTS_WITHIN_NS)
    model = replace(model, incidents_ns=(*recent, event.now_ns))
    has_home = model.last_safe is not None and model.last_safe.digest not in model.quarantine
    if len(model.incidents_ns) < INCIDENTS_MAX or not has_home:
        return model, (_note(model, event, "incident", {"incident": event.detail}),)
    return _go_home(model, event, event.digest, event.detail, {"incident": event.detail})


# --- How ------------------------------------------------------------------------------------------------------------
def _advance(model: ModelState, event: Event, evidence: Mapping[str, Any]) -> Outcome:
    """A plan goes on where its step has lasted long enough. A step is left for the next on no worse than "wait"; the
    promotion at the end needs "not worse"."""
    canary = model.canary
    if canary is None or not canary.started or canary.paused or not canary.baked(event.now_ns):
        return model, ()
    if not canary.on_last_step:
        if model.frozen:
            return _withheld(model, event, f"advance:{canary.id}:{canary.step}", "the plan's next step")
        following = canary.plan.steps[canary.step + 1]
        moved = replace(
            canary,
            step=canary.step + 1,
            step_started_ns=event.now_ns,
            weight_ppm=following.weight_ppm,
            requests=0,
        )
        return _decided(model, event, "advanced", evidence, canary=moved)
    if canary.plan.promotion is not Promotion.AUTOMATIC or canary.verdict != NOT_WORSE:
        return model, ()
    if model.frozen:
        return _withheld(model, event, f"promote:{canary.id}", "the promotion")
    return _decided(model, event, "promoted", evidence, **_promotion(model, canary))


def _go_home(model: ModelState, event: Event, digest: str, why: str, evidence: Mapping[str, Any]) -> Outcome:
    """What was found to be bad by itself leaves, unless all automatic action is frozen."""
    if model.frozen:
        return _withheld(model, event, f"home:{digest}", f"taking {digest[:12]} back: {why}", evidence)
    return _put_away(model, event, digest, why, "went_home", evidence)


def _put_away(
    model: ModelState, event: Event, digest: str, why: str, kind: str, evidence: Mapping[str, Any] | None = None
) -> Outcome:
    """Into quarantine, and out of every place that it has."""
    changes: dict[str, Any] = {"quarantine": {**model.quarantine, digest: why}}
    if model.canary is not None and model.canary.artifact.digest == digest:
        changes["canary"] = None
    if model.shadow is not None and model.shadow.digest == digest:
        changes |= {"shadow": None, "shadow_started": False}
    if model.last_safe is not None and model.last_safe.digest == digest:
        changes["last_safe"] = None
    if model.coming is not None and model.coming.digest == digest:
        changes["coming"] = None
    after = replace(model, **changes)
    if model.stable is not None and model.stable.digest == digest:
        # A canary has nobody to be compared with any more.
        changes |= {"canary": None, "incidents_ns": ()}
        if after.last_safe is not None and after.last_safe.digest in model.ready:
            changes |= {"stable": after.last_safe, "last_safe": None}
        else:
            changes |= {"stable": None, "last_safe": None, "coming": after.last_safe or _fallback(after)}
    elif after.stable is None and after.coming is None:
        changes["coming"] = _fallback(after)
    return _decided(model, event, kind, evidence, urgent=True, **changes)


def _promotion(model: ModelState, canary: Rollout) -> dict[str, Any]:
    safe = model.stable if model.stable is not None and model.stable.digest not in model.quarantine else model.last_safe
    return {"stable": canary.artifact, "last_safe": safe, "canary": None, "incidents_ns": ()}


def _started(rollout: Rollout, now_ns: int) -> Rollout:
    return replace(rollout, started=True, step_started_ns=now_ns, weight_ppm=rollout.current.weight_ppm)


def _fallback(model: ModelState) -> Artifact | None:
    """The newest verified artifact that may be served."""
    return next((artifact for artifact in model.known if artifact.digest not in model.quarantine), None)


def _canary_on_trial(model: ModelState) -> Rollout:
    if model.canary is None:
        raise Refused(Why.FAILED_PRECONDITION, "model", "a canary", "none", "Deploy one first.")
    return model.canary


def _canary_with_traffic(model: ModelState) -> Rollout:
    canary = _canary_on_trial(model)
    if not canary.started:
        raise Refused(
            Why.FAILED_PRECONDITION,
            "model",
            "a canary that is loaded",
            "one that is loading",
            "Wait until it has a weight.",
        )
    return canary


def _check_not_quarantined(model: ModelState, artifact: Artifact) -> None:
    if artifact.digest in model.quarantine:
        raise Refused(
            Why.FAILED_PRECONDITION,
            "version",
            "an artifact that is not in quarantine",
            f"{artifact.digest[:12]} ({model.quarantine[artifact.digest]})",
            f"Deploy another, or release it: roost release {artifact.digest[:12]}",
        )


def _decided(
    before: ModelState,
    event: Event,
    kind: str,
    evidence: Mapping[str, Any] | None = None,
    *,
    urgent: bool = False,
    **changes: Any,
) -> Outcome:
    """A decision: one revision, one route, one entry; then what must be loaded for it, and what may leave."""
    after = replace(before, revision=before.revision + 1, **changes)
    leaving = [artifact for digest, artifact in before.needed.items() if digest not in after.needed]
    after = replace(after, ready=after.ready - {artifact.digest for artifact in leaving})
    wanted = [artifact for digest, artifact in after.needed.items() if digest not in before.needed]
    entry = _entry(before, after, event, kind, evidence)
    actions: list[Action] = [StoreRoute(after, entry, urgent), Journal(entry), ProjectRegistry(after)]
    actions += [Load(artifact) for artifact in wanted]
    actions += [Unload(artifact) for artifact in leaving]
    return after, tuple(actions)


def _withheld(
    model: ModelState, event: Event, key: str, what: str, evidence: Mapping[str, Any] | None = None
) -> Outcome:
    """What a freeze keeps from being done is said once."""
    if key in model.withheld:
        return model, ()
    noted = replace(model, withheld=model.withheld | {key})
    return noted, (_note(noted, event, "withheld", {"withheld": what, **(evidence or {})}),)


def _note(model: ModelState, event: Event, kind: str, evidence: Mapping[str, Any]) -> Journal:
    return Journal(_entry(model, model, event, kind, evidence))


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


HANDLERS: Final[Mapping[type[Event], Callable[[ModelState, Any], Outcome]]] = {
    events.DeployCanary: _deploy,
    events.SetWeight: _set_weight,
    events.SetShadow: _set_shadow,
    events.Promote: _promote,
    events.Rollback: _rollback,
    events.Quarantine: _quarantine,
    events.Release: _release,
    events.Freeze: _freeze,
    events.Unfreeze: _unfreeze,
    events.Pause: _pause,
    events.Resume: _resume,
    events.Known: _known,
    events.Loaded: _loaded,
    events.LoadFailed: _load_failed,
    events.Judged: _judged,
    events.Tick: _tick,
    events.Incident: _incident,
}
