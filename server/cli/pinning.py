"""Pinning: what every configured model stands for, found out once, before anything is started.

Used by `roost serve`; the pins go to every worker at every start and restart. So a server answers with one set of
models from its start to its end: an alias that moves, or a file that is replaced, takes effect at the next start of
the server. Always: only digests are found out here; bundles are read, verified and loaded by the workers.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Final

from server.processes import BARE_FILE_VERSION, ModelPin
from server.settings import ModelSettings, Settings

log = logging.getLogger("roost.parent")

DIGEST_SHOWN: Final = 12


class PinningFailed(Exception):
    """`lines` has one line for each model that could not be found."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


def pin_models(settings: Settings) -> tuple[ModelPin, ...]:
    """A pin for each model, logged as it is found. Raises PinningFailed."""
    from registry_client.errors import ArtifactError

    pins, lines = [], []
    for model in settings.models:
        try:
            pins.append(_pin(model, settings))
        except ArtifactError as refusal:
            lines.append(f"model {model.name}: {refusal}")
        except OSError as error:
            lines.append(f"model {model.name}: {error.filename}: {error.strerror}.")
    if lines:
        raise PinningFailed(lines)
    for model, pin in zip(settings.models, pins, strict=True):
        fields = {"version": pin.version, "digest": pin.digest[:DIGEST_SHOWN]}
        log.info("%s is", described(model), extra={"fields": fields})
    return tuple(pins)


def described(model: ModelSettings) -> str:
    """The model as it was asked for."""
    if model.onnx is not None:
        return f"{model.name} from {model.onnx}"
    if model.reference is None:
        return model.name
    return f"{model.name}{model.reference}" if model.reference.startswith("@") else f"{model.name}:{model.reference}"


def _pin(model: ModelSettings, settings: Settings) -> ModelPin:
    if model.onnx is not None:
        with model.onnx.open("rb") as file:
            return ModelPin(
                name=model.name, version=BARE_FILE_VERSION, digest=hashlib.file_digest(file, "sha256").hexdigest()
            )
    from registry_client.folder import FolderRegistry

    assert settings.registry.path is not None, "the settings see to that"
    found = FolderRegistry(settings.registry.path).resolve(model.name, model.reference)
    return ModelPin(name=model.name, version=str(found.version), digest=found.digest)
