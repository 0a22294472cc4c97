"""The phases of an artifact's life with one model, and which may follow which.

    registered -> verified -> loaded -> shadow, canary -> stable -> last_safe, and from anywhere -> quarantined

`phase_of` reads an artifact's phase off a model's state; nothing else keeps it. Always: two states that follow each
other by `step` differ only by pairs of the table, which a test of random histories holds; docs/lifecycle.svg is drawn
from it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from server.lifecycle.state import ModelState


class Phase(StrEnum):
    """Where an artifact is. VERIFIED: its bytes are what the registry says; LOADED: every worker has it, warm."""

    REGISTERED = "registered"
    VERIFIED = "verified"
    LOADED = "loaded"
    SHADOW = "shadow"
    CANARY = "canary"
    STABLE = "stable"
    LAST_SAFE = "last_safe"
    QUARANTINED = "quarantined"


TRANSITIONS: Final[dict[tuple[Phase, Phase], str]] = {
    (Phase.REGISTERED, Phase.VERIFIED): "the loader has tried it",
    (Phase.VERIFIED, Phase.LOADED): "every worker has loaded it",
    (Phase.LOADED, Phase.SHADOW): "it runs beside the stable, unseen",
    (Phase.LOADED, Phase.CANARY): "its first weight is published",
    (Phase.LOADED, Phase.STABLE): "the stable is gone, and nothing safer is there",
    (Phase.LOADED, Phase.VERIFIED): "nobody needs it any more",
    (Phase.SHADOW, Phase.LOADED): "the shadow is lifted",
    (Phase.SHADOW, Phase.VERIFIED): "the shadow is lifted, and it leaves",
    (Phase.SHADOW, Phase.CANARY): "what ran unseen takes traffic",
    (Phase.SHADOW, Phase.STABLE): "the stable is gone, and nothing safer is there",
    (Phase.CANARY, Phase.STABLE): "promoted",
    (Phase.CANARY, Phase.VERIFIED): "taken back",
    (Phase.CANARY, Phase.LOADED): "taken back, and held for another purpose",
    (Phase.CANARY, Phase.LAST_SAFE): "taken back, and the last safe one still",
    (Phase.CANARY, Phase.SHADOW): "taken back to run unseen",
    (Phase.STABLE, Phase.LAST_SAFE): "another is stable now",
    (Phase.STABLE, Phase.VERIFIED): "rolled back",
    (Phase.STABLE, Phase.LOADED): "rolled back, and held for another purpose",
    (Phase.STABLE, Phase.SHADOW): "rolled back, and runs unseen",
    (Phase.LAST_SAFE, Phase.STABLE): "gone home to",
    (Phase.LAST_SAFE, Phase.VERIFIED): "a later one is the last safe",
    (Phase.LAST_SAFE, Phase.CANARY): "deployed again",
    (Phase.LAST_SAFE, Phase.SHADOW): "a later one is the last safe, and it runs unseen",
    (Phase.VERIFIED, Phase.REGISTERED): "its bytes are no longer what they were",
    **{
        (phase, Phase.QUARANTINED): "found to be bad"
        for phase in Phase
        if phase is not Phase.QUARANTINED
    },
    (Phase.QUARANTINED, Phase.REGISTERED): "released by an operator",
    (Phase.QUARANTINED, Phase.VERIFIED): "released by an operator",
}  # fmt: skip


def phase_of(model: ModelState, digest: str) -> Phase:
    """The highest phase that the model's state gives an artifact."""
    if digest in model.quarantine:
        return Phase.QUARANTINED
    for artifact, phase in (
        (model.stable, Phase.STABLE),
        (model.canary.artifact if model.canary is not None and model.canary.started else None, Phase.CANARY),
        (model.last_safe, Phase.LAST_SAFE),
        (model.shadow if model.shadow_started else None, Phase.SHADOW),
    ):
        if artifact is not None and artifact.digest == digest:
            return phase
    if digest in model.ready:
        return Phase.LOADED
    return Phase.VERIFIED if any(artifact.digest == digest for artifact in model.known) else Phase.REGISTERED
