"""The policy of drift that the settings ask for. Used by `watching`, and offline by `server.replay`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from server.judgement.drift.policy import CANARY, INPUTS, PREDICTIONS, DriftPolicy, Response, response_of
from server.settings import DriftSettings


def policy_of(settings: DriftSettings) -> DriftPolicy:
    """What the settings ask for."""
    responses: Mapping[str, Response] = {
        INPUTS: response_of(settings.inputs),
        PREDICTIONS: response_of(settings.predictions),
        CANARY: response_of(settings.canary),
    }
    return DriftPolicy(responses, settings.cool_down_s, settings.dry_run, settings.i_know, settings.reason)
