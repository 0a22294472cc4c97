"""The phases of an artifact's life with one model, and which may follow which.

    registered -> loading -> canary or shadow -> stable -> last_safe, and from anywhere -> quarantined

`phase_of` reads an artifact's phase off a model's state; nothing else keeps it. Always: two states that follow each
other by `step` differ by pairs of the table only, and each pair occurs, which a test of random histories holds;
docs/lifecycle.svg is drawn from it (`diagram`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from server.lifecycle.state import ModelState


class Phase(StrEnum):
    """What an artifact is to a model. One that has several places has the phase of the first that serves."""

    REGISTERED = "registered"  # its digest may be known; nothing has been fetched for this model
    LOADING = "loading"  # fetched, verified against its digest, tried apart, loaded and warmed by every worker
    SHADOW = "shadow"  # runs on the same rows, unseen
    CANARY = "canary"  # has a share of the traffic, which may be nothing
    STABLE = "stable"
    LAST_SAFE = "last_safe"  # stays loaded, so that going home takes one store
    QUARANTINED = "quarantined"  # is never served until an operator releases it


TRANSITIONS: Final[dict[tuple[Phase, Phase], str]] = {
    (Phase.REGISTERED, Phase.LOADING): "somebody needs it",
    (Phase.LOADING, Phase.REGISTERED): "it was refused, or is not needed any more",
    (Phase.LOADING, Phase.CANARY): "every worker has it: it gets its first weight",
    (Phase.LOADING, Phase.SHADOW): "every worker has it: it runs unseen",
    (Phase.LOADING, Phase.STABLE): "every worker has it, and nothing else was left to serve",
    (Phase.SHADOW, Phase.REGISTERED): "the shadow is lifted",
    (Phase.SHADOW, Phase.CANARY): "what ran unseen takes traffic",
    (Phase.SHADOW, Phase.STABLE): "the stable had to go, and nothing safer was left",
    (Phase.CANARY, Phase.REGISTERED): "rolled back",
    (Phase.CANARY, Phase.SHADOW): "rolled back, and runs unseen",
    (Phase.CANARY, Phase.LAST_SAFE): "rolled back to what it was before",
    (Phase.CANARY, Phase.STABLE): "promoted; or the stable had to go, and nothing safer was left",
    (Phase.STABLE, Phase.REGISTERED): "rolled back",
    (Phase.STABLE, Phase.LAST_SAFE): "another was promoted",
    (Phase.LAST_SAFE, Phase.REGISTERED): "another is the last safe now",
    (Phase.LAST_SAFE, Phase.LOADING): "the stable had to go before every worker had this one again",
    (Phase.LAST_SAFE, Phase.SHADOW): "another is the last safe now, and this one runs unseen",
    (Phase.LAST_SAFE, Phase.CANARY): "deployed again",
    (Phase.LAST_SAFE, Phase.STABLE): "home: the stable was rolled back, or had to go",
    **{
        (phase, Phase.QUARANTINED): "found to be bad, by the judge, by an accident, or by an operator"
        for phase in Phase
        if phase is not Phase.QUARANTINED
    },
    (Phase.QUARANTINED, Phase.REGISTERED): "released by an operator",
    (Phase.QUARANTINED, Phase.LOADING): "released by an operator while nothing served",
}  # fmt: skip


def phase_of(model: ModelState, digest: str) -> Phase:
    if digest in model.quarantine:
        return Phase.QUARANTINED
    canary = model.canary
    for artifact, phase in (
        (model.stable, Phase.STABLE),
        (canary.artifact if canary is not None and canary.started else None, Phase.CANARY),
        (model.last_safe, Phase.LAST_SAFE),
        (model.shadow if model.shadow_started else None, Phase.SHADOW),
    ):
        if artifact is not None and artifact.digest == digest:
            return phase
    return Phase.LOADING if digest in model.needed else Phase.REGISTERED
