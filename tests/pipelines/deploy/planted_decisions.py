"""Decisions and looks as a server would tell them of version 2 (digest b...), on trial beside version 1 (a...)."""

from __future__ import annotations

import json
from typing import Any

from pipelines.deploy.watch import PPM, Decision, Trial
from pipelines.parameters import Step
from protos.roost.v1 import admin_pb2

MODEL = "churn"
STABLE, CANARY = "a" * 64, "b" * 64
STEPS = (Step(weight=0.25, seconds=5, requests=1500), Step(weight=0.5, seconds=10, requests=4500))
VERSIONS = {STABLE: "1", CANARY: "2"}


def trial(**changes: Any) -> Trial:
    fields: dict[str, Any] = {"version": "2", "digest": CANARY, "steps": STEPS, "revision": 2, **changes}
    return Trial(**fields)


def artifact(digest: str) -> dict[str, str] | None:
    return {"version": VERSIONS.get(digest, "9"), "digest": digest} if digest else None


def places(stable: str = STABLE, canary: str = "", weight: float = 0.0) -> dict[str, Any]:
    return {"stable": artifact(stable), "canary": artifact(canary), "weight_ppm": round(weight * PPM)}


def decision(revision: int, kind: str, before: dict[str, Any], after: dict[str, Any], **more: Any) -> Decision:
    entry = {"model": MODEL, "revision": revision, "kind": kind, "at_utc": "2026-01-31T14:03:00.000Z"}
    entry |= {"from": before, "to": after, "evidence": {}, **more}
    return Decision(entry, f"{kind.replace('_', ' ')} ({more.get('reason', 'by itself')}).")


LOADING = places(canary=CANARY)
FIRST, SECOND = places(canary=CANARY, weight=0.25), places(canary=CANARY, weight=0.5)
PROMOTED = places(stable=CANARY)

DEPLOYED = decision(3, "canary_deployed", places(), LOADING, operator="roost pipeline", reason="digest bbb")
STARTED = decision(4, "canary_started", LOADING, FIRST)
ADVANCED = decision(5, "advanced", FIRST, SECOND)
BY_ITSELF = decision(6, "promoted", SECOND, PROMOTED)
HOME = decision(5, "went_home", FIRST, places(), why="judged to be worse than the stable beside it")
DIFFERS = "The predictions of version 2 differ from its stable's."
HELD = decision(6, "paused", SECOND, SECOND, operator="roost drift", reason=DIFFERS)
BEGUN = (DEPLOYED, STARTED, ADVANCED)


def state(revision: int = 2, canary: str = "", stable: str = STABLE, **rollout: Any) -> admin_pb2.ModelState:
    """A look at the model."""
    found = admin_pb2.ModelState(name=MODEL, revision=revision, serving=True)
    found.stable.CopyFrom(admin_pb2.Artifact(version=VERSIONS[stable], digest=stable))
    if canary:
        found.canary.CopyFrom(admin_pb2.Artifact(version=VERSIONS.get(canary, "9"), digest=canary))
        found.rollout.CopyFrom(admin_pb2.Rollout(**rollout))
    return found


def event(one: Decision, sequence: int) -> admin_pb2.Event:
    return admin_pb2.Event(
        sequence=sequence, model=MODEL, kind="decision", text=one.text, detail_json=json.dumps(one.entry)
    )


def line(one: Decision) -> str:
    return json.dumps({"entry": one.entry, "number": one.revision, "digest": "c" * 64})
