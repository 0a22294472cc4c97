"""Pinning: what every configured model stands for, found out once, before anything is started.

Used by `roost serve`; control makes the first routes of the pins. An alias that moves, or a file that is replaced,
takes effect at the next start of the server. Always: only digests are found out here; bundles are read, verified and
loaded by the workers. An MLflow registry is asked by a process of its own, which fills the cache, since its client
takes a hundred megabytes; while it does not answer, what was served last is served again. What was decided here is not
undone by an alias that has not heard of it. Where signers are set, nothing is pinned that none of them has signed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.lifecycle.documents import TAG, BadRollout, read_document
from server.processes import BARE_FILE_VERSION, ModelPin
from server.settings import ModelSettings, Settings

log = logging.getLogger("roost.parent")

DIGEST_SHOWN: Final = 12
RESOLVE_COMMAND: Final = (sys.executable, "-P", "-m", "registry_client.resolve")
SIGNATURES_COMMAND: Final = (sys.executable, "-P", "-m", "registry_client.signing.check")
RESOLVE_TIMEOUT_S: Final = 90.0
EXIT_UNAVAILABLE: Final = 3
SERVED_FILE: Final = "served.json"
"""In the folder of `lifecycle.state`: what each model serves, written by control when that changes."""
OWN_ALIAS: Final = "@stable"
"""The alias that decisions move; a name without a reference means it, too."""


@dataclass(frozen=True)
class ServedLast:
    """untold: the revision of the model that the registry has not been told of; 0 where it lacks weights at most."""

    pin: ModelPin
    untold: int = 0


class PinningFailed(Exception):
    """`lines` has one line for each model that could not be found."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


def pin_models(settings: Settings) -> tuple[ModelPin, ...]:
    """A pin for each model, logged as it is found. Raises PinningFailed."""
    from registry_client.errors import ArtifactError

    pins, lines = [], []
    last = served_last(settings.lifecycle.state)
    asked = _ask_mlflow(settings, last) if settings.registry.mlflow is not None else {}
    for model in settings.models:
        try:
            pins.append(asked[model.name] if model.name in asked else _pin(model, settings, last))
        except ArtifactError as refusal:
            lines.append(f"model {model.name}: {refusal}")
        except OSError as error:
            lines.append(f"model {model.name}: {error.filename}: {error.strerror}.")
    if lines:
        raise PinningFailed(lines)
    for model, pin in zip(settings.models, pins, strict=True):
        fields = {"version": pin.version, "digest": pin.digest[:DIGEST_SHOWN]}
        log.info("%s is", described(model), extra={"fields": fields})
    if settings.registry.signers:
        _check_signatures(settings, pins)
    return tuple(pins)


def _check_signatures(settings: Settings, pins: Sequence[ModelPin]) -> None:
    """Each pin's bundle is signed by one of the signers. Asks the registry for what the cache has not.

    Raises PinningFailed. What is checked are the digests that the pins name, and so the bytes that workers will load.
    """
    document = {
        "location": settings.registry.location,
        "cache": str(settings.registry.cache),
        "signers": settings.registry.signers,
        "versions": [pin.model_dump() for pin in pins],
    }
    try:
        answer = subprocess.run(
            SIGNATURES_COMMAND, input=json.dumps(document), capture_output=True, text=True, timeout=RESOLVE_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise PinningFailed([
            f"registry: expected it to give signatures within {RESOLVE_TIMEOUT_S:g} s, got no answer. See that it is "
            "up, then start again."
        ]) from None  # fmt: skip
    if answer.returncode != 0:
        raise PinningFailed(answer.stderr.splitlines() or [f"signatures: their check ended with {answer.returncode}."])
    for line in answer.stdout.splitlines():
        found = json.loads(line)
        log.info("%s is signed", found["name"], extra={"fields": {"signer": found["signer"]}})


def _ask_mlflow(settings: Settings, last: Mapping[str, ServedLast]) -> Mapping[str, ModelPin]:
    """The pins of all models that the MLflow registry has to know. Raises PinningFailed."""
    wanted = [model for model in settings.models if model.onnx is None]
    assert settings.registry.mlflow is not None, "the caller has looked"
    places = settings.registry.mlflow, str(settings.registry.cache)
    command = [*RESOLVE_COMMAND, *places, *(described(model) for model in wanted)]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=RESOLVE_TIMEOUT_S, check=False)
        code, said, failure = answer.returncode, answer.stdout, answer.stderr.strip()
    except subprocess.TimeoutExpired:
        code, said, failure = EXIT_UNAVAILABLE, "", f"registry: no answer within {RESOLVE_TIMEOUT_S:g} s."
    if code == 0:
        pins = {}
        for model, line in zip(wanted, said.splitlines(), strict=True):
            found = json.loads(line)
            tags = found.pop("tags", {})
            pins[model.name] = _unless_behind(model, ModelPin(**found), tags, last.get(model.name), settings)
        return pins
    if code != EXIT_UNAVAILABLE:
        raise PinningFailed(failure.splitlines() or [f"registry: its client ended with {code}."])
    missing = [model.name for model in wanted if model.name not in last]
    if missing:
        raise PinningFailed([*failure.splitlines(), f"models: nothing was served before of {', '.join(missing)}."])
    for line in failure.splitlines():
        log.warning("%s", line)
    state = {"state": str(settings.lifecycle.state)}
    log.warning("the registry does not answer: serving what was served last", extra={"fields": state})
    return {model.name: last[model.name].pin for model in wanted}


def _unless_behind(
    model: ModelSettings, found: ModelPin, tags: Mapping[str, str], last: ServedLast | None, settings: Settings
) -> ModelPin:
    """What the registry says, or what was served last, where the registry has yet to hear why."""
    if last is None or model.reference not in (None, OWN_ALIAS) or not is_behind(found, tags.get(TAG), last):
        return found
    fields = {"fields": {"registry": found.version, "served_last": last.pin.version, "revision": last.untold}}
    if not _is_held(last.pin, settings):
        log.warning("what was decided last is not in the cache any more: serving what the registry says", extra=fields)
        return found
    log.warning("the registry has not heard of the last decision: serving what was decided", extra=fields)
    return last.pin


def is_behind(found: ModelPin, rollout: str | None, last: ServedLast) -> bool:
    """True where the alias stands as it did before a decision that the registry has not heard of.

    rollout: the model's document there. An alias that somebody has moved since is followed: it is another than the
    document's, or the document has our revision.
    """
    if not last.untold or found.digest == last.pin.digest:
        return False
    try:
        told = read_document(rollout) if rollout is not None else None
    except BadRollout:
        told = None
    return told is None or (told.revision < last.untold and told.stable in ("", found.digest))


def _is_held(pin: ModelPin, settings: Settings) -> bool:
    """True where the workers will find the bundle: a folder registry keeps all, of MLflow's they have the cache."""
    from registry_client.cache import BundleCache

    return settings.registry.mlflow is None or BundleCache(settings.registry.cache).path(pin.digest).is_dir()


def served_last(state: Path) -> Mapping[str, ServedLast]:
    """What each model served when the server that keeps its state in this folder last decided. Empty where none did."""
    try:
        kept = json.loads((state / SERVED_FILE).read_bytes())
        return {
            name: ServedLast(
                ModelPin(name=name, version=pin["version"], digest=pin["digest"]), int(pin.get("untold", 0))
            )
            for name, pin in kept.items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s is damaged and left alone: %s", state / SERVED_FILE, error)
        return {}


def described(model: ModelSettings) -> str:
    """The model as it was asked for."""
    if model.onnx is not None:
        return f"{model.name} from {model.onnx}"
    if model.reference is None:
        return model.name
    return f"{model.name}{model.reference}" if model.reference.startswith("@") else f"{model.name}:{model.reference}"


def _pin(model: ModelSettings, settings: Settings, last: Mapping[str, ServedLast]) -> ModelPin:
    if model.onnx is not None:
        with model.onnx.open("rb") as file:
            return ModelPin(
                name=model.name, version=BARE_FILE_VERSION, digest=hashlib.file_digest(file, "sha256").hexdigest()
            )
    from registry_client.folder import FolderRegistry

    assert settings.registry.path is not None, "the settings see to that"
    registry = FolderRegistry(settings.registry.path)
    found = registry.resolve(model.name, model.reference)
    pin = ModelPin(name=model.name, version=str(found.version), digest=found.digest)
    return _unless_behind(model, pin, registry.model_tags(model.name), last.get(model.name), settings)
