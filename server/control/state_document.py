"""A model's state as plain JSON: what the decision ring and the state folder keep of it, and what is read back.

Used by the driver, by recovery and by the break-glass command. Always: `read_state(state_document(x))` is x, but for
what only this moment knows: which artifacts are loaded, and what was withheld or happened lately.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from server.lifecycle.plan import plan_document, read_plan
from server.lifecycle.state import Artifact, ModelState, Rollout

Document = dict[str, Any]


def state_document(model: ModelState) -> Document:
    return {
        "name": model.name,
        "revision": model.revision,
        "stable": _artifact(model.stable),
        "last_safe": _artifact(model.last_safe),
        "canary": None if model.canary is None else _rollout(model.canary),
        "shadow": _artifact(model.shadow),
        "shadow_started": model.shadow_started,
        "coming": _artifact(model.coming),
        "quarantine": dict(model.quarantine),
        "frozen": model.frozen,
    }


def decision_document(index: int, model: ModelState, released: Set[str]) -> Document:
    """What stands beside a decision in the plane's ring. index: the model's place; released: see `KeptState`."""
    return {**state_document(model), "released": sorted(released), "index": index}


def read_state(document: Mapping[str, Any]) -> ModelState:
    """Raises ValueError for anything but such a document."""
    try:
        canary = document["canary"]
        return ModelState(
            name=str(document["name"]),
            revision=int(document["revision"]),
            stable=_read_artifact(document["stable"]),
            last_safe=_read_artifact(document["last_safe"]),
            canary=None if canary is None else _read_rollout(canary),
            shadow=_read_artifact(document["shadow"]),
            shadow_started=bool(document["shadow_started"]),
            coming=_read_artifact(document["coming"]),
            quarantine={str(digest): str(why) for digest, why in document["quarantine"].items()},
            frozen=bool(document["frozen"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"state: expected what this build writes, got {error!r}") from error


def _artifact(artifact: Artifact | None) -> Document | None:
    return None if artifact is None else {"version": artifact.version, "digest": artifact.digest}


def _read_artifact(document: Mapping[str, Any] | None) -> Artifact | None:
    return None if document is None else Artifact(str(document["version"]), str(document["digest"]))


def _rollout(rollout: Rollout) -> Document:
    return {
        "id": rollout.id,
        "salt": rollout.salt,
        "artifact": _artifact(rollout.artifact),
        "plan": plan_document(rollout.plan),
        "started": rollout.started,
        "step": rollout.step,
        "step_started_ns": rollout.step_started_ns,
        "weight_ppm": rollout.weight_ppm,
        "paused": rollout.paused,
    }


def _read_rollout(document: Mapping[str, Any]) -> Rollout:
    artifact = _read_artifact(document["artifact"])
    if artifact is None:
        raise ValueError("state: expected a canary's artifact, got none")
    return Rollout(
        id=str(document["id"]),
        salt=int(document["salt"]),
        artifact=artifact,
        plan=read_plan(document["plan"]),
        started=bool(document["started"]),
        step=int(document["step"]),
        step_started_ns=int(document["step_started_ns"]),
        weight_ppm=int(document["weight_ppm"]),
        paused=bool(document["paused"]),
    )
