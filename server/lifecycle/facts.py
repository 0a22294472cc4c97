"""What becomes known: of artifacts, of the canary's evidence, of accidents, and that time has passed.

Used by `step`. Always: late news of what has left changes nothing; a freeze keeps every decision from being taken here
but those that finish what an operator has asked for (a canary or shadow that is loaded, or can't be).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from server.lifecycle import events
from server.lifecycle.actions import Load
from server.lifecycle.decisions import (
    HOME,
    STAYS,
    Outcome,
    decided,
    fallback,
    go_home,
    note,
    promotion,
    started,
    withheld,
)
from server.lifecycle.events import Event
from server.lifecycle.plan import Promotion
from server.lifecycle.state import Artifact, ModelState

WORSE: Final = "worse"
NOT_WORSE: Final = "not_worse"
JUDGED_WORSE: Final = "judged to be worse than the stable beside it"
FOUND_WHILE_FROZEN: Final = "found to be bad while automatic action was frozen"
INCIDENTS_MAX: Final = 3
INCIDENTS_WITHIN_NS: Final = 5 * 60 * 1_000_000_000


def known(model: ModelState, event: events.Known) -> Outcome:
    return _recover(replace(model, known=event.artifacts), event)


def loaded(model: ModelState, event: events.Loaded) -> Outcome:
    if event.digest not in model.needed:
        return model, ()
    model = replace(model, ready=model.ready | {event.digest})
    if model.coming is not None and model.coming.digest == event.digest:
        return decided(model, event, "stable_restored", stable=model.coming, coming=None)
    canary = model.canary
    if canary is not None and canary.artifact.digest == event.digest and not canary.started:
        return decided(model, event, "canary_started", canary=started(canary, event.now_ns))
    if model.shadow is not None and model.shadow.digest == event.digest and not model.shadow_started:
        return decided(model, event, "shadow_started")
    return model, ()


def load_failed(model: ModelState, event: events.LoadFailed) -> Outcome:
    evidence: dict[str, Any] = {"failure": event.reason}
    if event.unavailable:
        evidence["unavailable"] = True
    if model.canary is not None and model.canary.artifact.digest == event.digest:
        return decided(model, event, "canary_refused", evidence, urgent=True, canary=None)
    if model.shadow is not None and model.shadow.digest == event.digest:
        return decided(model, event, "shadow_refused", evidence, shadow=None)
    if model.coming is not None and model.coming.digest == event.digest:
        return _coming_failed(model, event, model.coming, evidence)
    if event.digest in model.needed:
        # It keeps its place. A last safe that some worker does not hold is none to go to, until it is loaded again.
        if model.stable is None or model.stable.digest != event.digest:
            model = replace(model, ready=model.ready - {event.digest})
        return model, (note(model, event, "incident", evidence),)
    return model, ()


def _coming_failed(
    model: ModelState, event: events.LoadFailed, coming: Artifact, evidence: Mapping[str, Any]
) -> Outcome:
    """What was refused is forgotten, and the next one comes. What could not be fetched makes room for one that may be
    at hand, and has its turn again; where it is the only one, or a freeze forbids another choice, it goes on coming."""
    others = tuple(artifact for artifact in model.known if artifact.digest != coming.digest)
    if not event.unavailable:
        following = None if model.frozen else fallback(replace(model, known=others))
        return decided(model, event, "coming_refused", evidence, known=others, coming=following)
    put_off = replace(model, known=(*others, coming))
    following = fallback(put_off)
    if model.frozen or following is None or following.digest == coming.digest:
        return put_off, (Load(coming),)
    return decided(put_off, event, "coming_refused", evidence, coming=following)


def judged(model: ModelState, event: events.Judged) -> Outcome:
    canary = model.canary
    if canary is None or canary.artifact.digest != event.digest or not canary.started:
        return model, ()
    model = replace(model, canary=replace(canary, verdict=event.verdict, requests=event.requests))
    if event.verdict == WORSE and not event.withheld:
        return go_home(model, event, event.digest, JUDGED_WORSE, event.evidence)
    if (digest := _postponed(model)) is not None:
        return go_home(model, event, digest, FOUND_WHILE_FROZEN, event.evidence)
    if event.verdict == WORSE:
        what = f"taking {event.digest[:12]} back, since {event.withheld}: {JUDGED_WORSE}"
        return withheld(model, event, STAYS + event.digest, what, event.evidence)
    return _advance(model, event, event.evidence)


def incident(model: ModelState, event: events.Incident) -> Outcome:
    if any(artifact.digest == event.digest for artifact in model.on_trial):
        return go_home(model, event, event.digest, event.detail, {"incident": event.detail, **event.evidence})
    if model.stable is None or model.stable.digest != event.digest:
        return model, ()
    recent = tuple(at for at in model.incidents_ns if event.now_ns - at <= INCIDENTS_WITHIN_NS)
    model = replace(model, incidents_ns=(*recent, event.now_ns))
    if len(model.incidents_ns) < INCIDENTS_MAX or not _has_another(model):
        return model, (note(model, event, "incident", {"incident": event.detail}),)
    return go_home(model, event, event.digest, event.detail, {"incident": event.detail})


def tick(model: ModelState, event: events.Tick) -> Outcome:
    if (digest := _postponed(model)) is not None:
        return go_home(model, event, digest, FOUND_WHILE_FROZEN, {})
    if model.stable is None:
        return _recover(model, event)
    return _advance(model, event, {})


def _postponed(model: ModelState) -> str | None:
    """Who is still on trial and would have gone home, but for a freeze. While that lasts, it is withheld again."""
    on_trial = (artifact.digest for artifact in model.on_trial)
    return next((digest for digest in on_trial if HOME + digest in model.withheld), None)


def _advance(model: ModelState, event: Event, evidence: Mapping[str, Any]) -> Outcome:
    """A plan goes on where its step has lasted long enough. A step is left for the next on no worse than "wait"; the
    promotion at the end needs "not worse". What was once worse and may not be taken back stays where it is."""
    canary = model.canary
    if canary is None or not canary.started or canary.paused or not canary.baked(event.now_ns):
        return model, ()
    if STAYS + canary.artifact.digest in model.withheld:
        return model, ()
    if not canary.on_last_step:
        if model.frozen or model.held:
            return withheld(model, event, f"advance:{canary.id}:{canary.step}", f"the plan's next step{_since(model)}")
        following = canary.plan.steps[canary.step + 1]
        moved = replace(
            canary,
            step=canary.step + 1,
            step_started_ns=event.now_ns,
            weight_ppm=following.weight_ppm,
            requests=0,
        )
        return decided(model, event, "advanced", evidence, canary=moved)
    if canary.plan.promotion is not Promotion.AUTOMATIC or canary.verdict != NOT_WORSE:
        return model, ()
    if model.frozen or model.held:
        return withheld(model, event, f"promote:{canary.id}", f"the promotion{_since(model)}")
    return decided(model, event, "promoted", evidence, **promotion(model, canary))


def _since(model: ModelState) -> str:
    return "" if model.frozen else f", since {model.held}"


def _recover(model: ModelState, event: Event) -> Outcome:
    """With nothing to serve and nothing coming, the newest verified artifact that may be served is loaded."""
    if model.stable is not None or model.coming is not None or (home := fallback(model)) is None:
        return model, ()
    if model.frozen:
        return withheld(model, event, f"coming:{home.digest}", f"loading version {home.version}, with nothing to serve")
    if home.digest in model.ready:
        return decided(model, event, "stable_restored", stable=home)
    return decided(model, event, "coming", coming=home)


def _has_another(model: ModelState) -> bool:
    """True where somebody could take the stable's place. A stable that crashes is better than none at all."""
    assert model.stable is not None
    bad = {*model.quarantine, model.stable.digest}
    candidates = (model.last_safe, *model.known)
    return any(artifact is not None and artifact.digest not in bad for artifact in candidates)
