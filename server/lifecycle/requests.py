"""What operators ask for: each request as a decision, or refused with what stands against it.

Used by `step`. Always: a request that is refused changes nothing; what is in quarantine is asked for in vain.
"""

from __future__ import annotations

from dataclasses import replace

from server.lifecycle import events
from server.lifecycle.decisions import HOME, STAYS, Outcome, decided, fallback, promotion, put_away, started
from server.lifecycle.plan import PPM, Promotion
from server.lifecycle.refusal import Refused, Why
from server.lifecycle.state import Artifact, ModelState, Rollout

NOTHING_TO_DO = "There is nothing to do."


def deploy(model: ModelState, event: events.DeployCanary) -> Outcome:
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
        return decided(model, event, "canary_started", canary=started(rollout, event.now_ns))
    return decided(model, event, "canary_deployed", canary=rollout)


def set_weight(model: ModelState, event: events.SetWeight) -> Outcome:
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
    return decided(model, event, "weight_set", canary=replace(paused, step_started_ns=event.now_ns))


def set_shadow(model: ModelState, event: events.SetShadow) -> Outcome:
    artifact = event.artifact
    if artifact is None:
        if model.shadow is None:
            raise Refused(Why.FAILED_PRECONDITION, "version", "a shadow to lift", "none", NOTHING_TO_DO)
        return decided(model, event, "shadow_lifted", shadow=None)
    _check_not_quarantined(model, artifact)
    if model.stable is not None and model.stable.digest == artifact.digest:
        raise Refused(
            Why.FAILED_PRECONDITION, "version", "another artifact than the stable's", "the stable", "Choose another."
        )
    return decided(model, event, "shadow_set", shadow=artifact, shadow_started=False)


def promote(model: ModelState, event: events.Promote) -> Outcome:
    canary = _canary_with_traffic(model)
    return decided(model, event, "promoted", **promotion(model, canary))


def rollback(model: ModelState, event: events.Rollback) -> Outcome:
    if model.canary is not None:
        return decided(model, event, "rolled_back", urgent=True, canary=None)
    home = model.last_safe
    if home is None or home.digest in model.quarantine:
        raise Refused(
            Why.FAILED_PRECONDITION,
            "model",
            "a canary, or a last safe version to go back to",
            "neither",
            "Deploy the version that you want as a canary.",
        )
    if home.digest not in model.ready:
        raise Refused(
            Why.FAILED_PRECONDITION,
            "model",
            "a last safe version that every worker has loaded",
            f"version {home.version}, which is being loaded",
            "Try again when `roost status` shows it as loaded, or deploy another version.",
        )
    return decided(model, event, "rolled_back", urgent=True, stable=home, last_safe=None, incidents_ns=())


def quarantine(model: ModelState, event: events.Quarantine) -> Outcome:
    if event.digest in model.quarantine:
        raise Refused(
            Why.FAILED_PRECONDITION, "digest", "one that is not in quarantine", "one that is", NOTHING_TO_DO
        )
    return put_away(model, event, event.digest, event.reason, "quarantined")


def release(model: ModelState, event: events.Release) -> Outcome:
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
        return decided(model, event, "released", quarantine=quarantine, coming=fallback(after))
    return decided(model, event, "released", quarantine=quarantine)


def freeze(model: ModelState, event: events.Freeze) -> Outcome:
    if model.frozen:
        raise Refused(
            Why.FAILED_PRECONDITION, "model", "one that is not frozen", "one that is", NOTHING_TO_DO
        )
    return decided(model, event, "frozen", frozen=True)


def unfreeze(model: ModelState, event: events.Unfreeze) -> Outcome:
    if not model.frozen:
        raise Refused(
            Why.FAILED_PRECONDITION, "model", "one that is frozen", "one that is not", NOTHING_TO_DO
        )
    # What was found to be bad meanwhile leaves with the next tick; everything else comes up again by itself.
    kept = frozenset(key for key in model.withheld if key.startswith((HOME, STAYS)))
    return decided(model, event, "unfrozen", frozen=False, withheld=kept)


def pause(model: ModelState, event: events.Pause) -> Outcome:
    canary = _canary_on_trial(model)
    if canary.paused:
        raise Refused(Why.FAILED_PRECONDITION, "model", "a plan that goes on", "one that is paused", NOTHING_TO_DO)
    return decided(model, event, "paused", canary=replace(canary, paused=True))


def resume(model: ModelState, event: events.Resume) -> Outcome:
    canary = _canary_on_trial(model)
    if not canary.paused:
        raise Refused(Why.FAILED_PRECONDITION, "model", "a plan that is paused", "one that goes on", NOTHING_TO_DO)
    # Where an operator has set another weight meanwhile, the plan goes on with its step's own.
    resumed = replace(canary, paused=False, requests=0, step_started_ns=event.now_ns)
    if canary.started:
        resumed = replace(resumed, weight_ppm=canary.current.weight_ppm)
    kept = model.withheld - {STAYS + canary.artifact.digest}  # where it is worse still, the next look says so again
    return decided(model, event, "resumed", canary=resumed, withheld=kept)


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
