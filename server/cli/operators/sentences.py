"""A model's state and its evidence as lines of text, for people. Pure: messages in, lines out."""

from __future__ import annotations

from collections.abc import Iterator

from protos.roost.v1 import admin_pb2
from server.lifecycle.explain import share

DIGEST_SHOWN = 12


def model_lines(reply: admin_pb2.DescribeModelReply) -> Iterator[str]:
    """All of one model, a thing a line."""
    model = reply.model
    yield f"{model.name}: revision {model.revision}, route table {model.epoch}"
    for label, text in _facts(model):
        yield f"  {label:<11}{text}"
    for number, quarantined in enumerate(model.quarantined):
        label = "quarantine" if number == 0 else ""
        yield f"  {label:<11}{quarantined.digest[:DIGEST_SHOWN]}  {quarantined.reason}"
    for number, version in enumerate(reply.versions):
        label = "registry" if number == 0 else ""
        aliases = "".join(f" @{alias}" for alias in version.aliases)
        yield f"  {label:<11}{artifact_text(version.artifact)}{aliases}"


def artifact_text(artifact: admin_pb2.Artifact) -> str:
    return f"version {artifact.version}  {artifact.digest[:DIGEST_SHOWN]}"


def plan_text(rollout: admin_pb2.Rollout) -> str:
    """`1 % > [5 %] > 25 %`, the step that it is at in brackets."""
    steps = [share(step.weight_ppm) for step in rollout.steps]
    if rollout.step < len(steps):
        steps[rollout.step] = f"[{steps[rollout.step]}]"
    return " > ".join(steps)


def notes(model: admin_pb2.ModelState) -> tuple[str, ...]:
    """What an operator should not miss, for a cell of a table."""
    found = []
    if not model.serving:
        found.append(model.message or "not serving")
    if model.frozen:
        found.append("frozen")
    if model.HasField("canary") and model.rollout.paused:
        found.append("paused")
    if model.quarantined:
        found.append(f"{len(model.quarantined)} in quarantine")
    if model.workers_following < model.workers_ready:
        found.append(f"{model.workers_following} of {model.workers_ready} workers follow")
    return tuple(found)


def _facts(model: admin_pb2.ModelState) -> Iterator[tuple[str, str]]:
    if not model.serving:
        yield "NOT SERVED", model.message
    for label, held in (("stable", model.stable), ("last safe", model.last_safe), ("shadow", model.shadow)):
        if held.digest:
            yield label, artifact_text(held)
    if model.HasField("canary"):
        yield "canary", f"{artifact_text(model.canary)}  {share(model.weight_ppm)} of the traffic"
        yield from _rollout_facts(model)
    if model.frozen:
        yield "frozen", "no automatic action until `roost unfreeze`"
    yield "workers", f"{model.workers_ready} ready, {model.workers_following} follow this route table"
    for number, alert in enumerate(model.alerts):
        yield "alerts" if number == 0 else "", alert


def _rollout_facts(model: admin_pb2.ModelState) -> Iterator[tuple[str, str]]:
    rollout = model.rollout
    phase = "paused" if rollout.paused else rollout.phase
    yield "rollout", f"{rollout.id}, {phase}, verdict: {(rollout.verdict or 'none yet').replace('_', ' ')}"
    yield "plan", plan_text(rollout) + (", then an operator decides" if rollout.needs_approval else ", then promoted")
    if rollout.step < len(rollout.steps) and rollout.phase != "loading":
        step = rollout.steps[rollout.step]
        if rollout.paused and model.weight_ppm != step.weight_ppm:
            yield "", f"its share was set by hand: `roost resume {model.name}` goes back to {share(step.weight_ppm)}"
        seen = f"{rollout.step_elapsed_s:.0f} s and {rollout.requests:,} requests"
        needs = f" of at least {step.bake_s:g} s and {step.minimum_requests:,}"
        yield "step", seen + (needs if step.bake_s or step.minimum_requests else "")
