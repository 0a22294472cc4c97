"""Replies of the operators' service, made of the driver's state. Pure reading."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from protos.roost.v1 import admin_pb2
from server.control.driver import Driver
from server.control.event_log import LoggedEvent
from server.control.judging import Look
from server.judgement.evidence import COUNTED
from server.lifecycle.explain import share, why_not_serving
from server.lifecycle.journal import Line, encode
from server.lifecycle.plan import Promotion
from server.lifecycle.state import Artifact, ModelState, Rollout

FAR: Final = 1e300  # an odds ratio without a bound


def model_state(driver: Driver, name: str) -> admin_pb2.ModelState:
    model = driver.state(name)
    ready, following = driver.publisher.workers()
    state = admin_pb2.ModelState(
        name=name,
        revision=model.revision,
        epoch=driver.publisher.epoch,
        serving=model.stable is not None,
        message=why_not_serving(model),
        weight_ppm=model.weight_ppm,
        frozen=model.frozen,
        workers_ready=ready,
        workers_following=following,
        alerts=[f"{key}: {text}" for key, text in driver.alerts.items()],
        quarantined=[
            admin_pb2.QuarantinedDigest(digest=digest, reason=why) for digest, why in sorted(model.quarantine.items())
        ],
    )
    canary = model.canary
    for field, held in (
        (state.stable, model.stable),
        (state.canary, canary.artifact if canary is not None else None),
        (state.shadow, model.shadow),
        (state.last_safe, model.last_safe),
    ):
        if held is not None:
            field.CopyFrom(artifact(held))
    if canary is not None:
        state.rollout.CopyFrom(_rollout(canary, driver.looks.get(name)))
    return state


def artifact(held: Artifact) -> admin_pb2.Artifact:
    return admin_pb2.Artifact(version=held.version, digest=held.digest)


def _rollout(canary: Rollout, seen: Look | None) -> admin_pb2.Rollout:
    return admin_pb2.Rollout(
        id=canary.id,
        salt=canary.salt,
        steps=[
            admin_pb2.PlanStep(weight_ppm=step.weight_ppm, bake_s=step.bake_s, minimum_requests=step.minimum_requests)
            for step in canary.plan.steps
        ],
        step=canary.step,
        paused=canary.paused,
        needs_approval=canary.plan.promotion is not Promotion.AUTOMATIC,
        phase="canary" if canary.started else "loading",
        step_elapsed_s=(time.monotonic_ns() - canary.step_started_ns) / 1e9 if canary.started else 0.0,
        requests=seen.step_requests if seen is not None else 0,
        verdict=seen.judgement.verdict.value if seen is not None else canary.verdict,
    )


def headline(model: ModelState) -> str:
    """A model's state in a sentence."""
    parts = [f"{model.name} is at revision {model.revision}"]
    if model.stable is None:
        parts.append("nothing is served until another version is loaded or released")
    else:
        parts.append(f"version {model.stable.version} is stable")
    if model.canary is not None:
        where = f"has {share(model.weight_ppm)}" if model.canary.started else "is being loaded"
        parts.append(f"the canary, version {model.canary.artifact.version}, {where}")
    if model.shadow is not None:
        where = "runs unseen" if model.shadow_started else "is being loaded to run unseen"
        parts.append(f"version {model.shadow.version} {where}")
    if model.frozen:
        parts.append("automatic action is frozen")
    return "; ".join(parts) + "."


def operation_reply(driver: Driver, names: Iterable[str]) -> admin_pb2.OperationReply:
    about = tuple(names)
    return admin_pb2.OperationReply(
        models=[model_state(driver, name) for name in about],
        message=" ".join(headline(driver.state(name)) for name in about),
    )


def evidence_reply(name: str, seen: Look | None, words: Iterable[str]) -> admin_pb2.GetEvidenceReply:
    reply = admin_pb2.GetEvidenceReply(model=name, words=list(words))
    if seen is None:
        return reply
    reply.canary.CopyFrom(admin_pb2.Artifact(version=seen.version, digest=seen.digest))
    reply.verdict = seen.judgement.verdict.value
    reply.judgement_json = json.dumps(seen.to_dict())
    reply.e_worse = seen.judgement.e_worse
    for counts in seen.evidence:
        epoch = reply.epochs.add(weight_epoch=counts.epoch, canary_ppm=counts.canary_weight_ppm)
        for arm, counted in ((epoch.stable, counts.stable), (epoch.canary, counts.canary)):
            for field in COUNTED:
                setattr(arm, field, getattr(counted, field))
    for signal in seen.judgement.signals:
        reply.signals.add(
            name=signal.name,
            stable_events=signal.stable_events,
            canary_events=signal.canary_events,
            e_worse=signal.e_bad,
            e_not_worse=signal.e_pass,
            odds_ratio_low=signal.psi_low,
            odds_ratio_high=min(signal.psi_high, FAR),
        )
    return reply


def journal_entry(entry: Mapping[str, Any], line: Line | None) -> admin_pb2.JournalEntry:
    """line: None for an entry that is not on disk yet."""
    document: Any = entry
    if line is not None:
        document = {"entry": entry, "number": line.number, "digest": line.digest}
    return admin_pb2.JournalEntry(
        number=0 if line is None else line.number,
        at_utc=str(entry.get("at_utc", "")),
        model=str(entry.get("model", "")),
        revision=int(entry.get("revision", 0)),
        cause=str(entry.get("kind", "")),
        operator=str(entry.get("operator", "")),
        reason=str(entry.get("reason", "")),
        line=encode(document).decode(),
    )


def served_then(name: str, entry: Mapping[str, Any]) -> admin_pb2.ServedThen:
    then = entry.get("to") or {}
    reply = admin_pb2.ServedThen(
        model=name, revision=int(entry.get("revision", 0)), weight_ppm=int(then.get("weight_ppm", 0))
    )
    for field, held in ((reply.stable, then.get("stable")), (reply.canary, then.get("canary"))):
        if held:
            field.CopyFrom(admin_pb2.Artifact(version=str(held["version"]), digest=str(held["digest"])))
    return reply


def event(logged: LoggedEvent) -> admin_pb2.Event:
    return admin_pb2.Event(
        sequence=logged.sequence,
        at_utc=logged.at_utc,
        model=logged.model,
        kind=logged.kind,
        text=logged.text,
        detail_json=json.dumps(logged.detail) if logged.detail else "",
    )
