"""From a configured model to one that answers: read, verify, build, check, warm, probe.

Used once per model as a worker starts. Always: the session is built from the very bytes that were hashed, and a model
that does not answer its golden examples as recorded is never served. What was pinned is loaded, or nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from registry_client.baseline.document import Baseline
from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError, UnservableModel, VerificationFailed
from registry_client.folder import FolderRegistry
from registry_client.golden import Golden, check_golden
from registry_client.manifest import Tolerance
from registry_client.onnx_model import MODEL_BYTES_MAX, OnnxModel, read_onnx
from registry_client.reading import read_at_most
from registry_client.registry import Version
from registry_client.tensors import FREE_DIMENSION, Signature
from registry_client.verify import VerifiedBundle, check_contents
from server.processes import BARE_FILE_VERSION, ModelPin
from server.settings import ModelSettings, Settings
from server.worker.models.examples import random_inputs
from server.worker.models.failures import SessionRefused
from server.worker.models.giving_back import give_back
from server.worker.models.probe import SEED, reason_against_batching
from server.worker.models.served import ServedModel
from server.worker.models.session import OnnxSession
from server.worker.status import Code, StatusError

Array = npt.NDArray[np.generic]

WARM_UP_SIZES = (1, 2)


class ModelRefused(Exception):
    """A configured model that cannot be served. One line: the model, what is wrong, what to do."""


@dataclass(frozen=True)
class Source:
    """What a model is built from. digest: sha256 in hex, of the file or of the bundle's manifest."""

    version: str
    digest: str
    model: OnnxModel
    golden: Golden | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)
    baseline: Baseline | None = None


def load_model(wanted: ModelSettings, settings: Settings, pin: ModelPin | None = None) -> ServedModel:
    """The model as pinned; without a pin what the settings name now. Raises ModelRefused."""
    try:
        source = _source(wanted, settings, pin)
        model = build_model(wanted.name, source, settings.batching.max_batch_size)
    except (ArtifactError, SessionRefused, OSError) as error:
        raise ModelRefused(f"model {wanted.name}: {error}") from error
    except StatusError as error:
        raise ModelRefused(
            f"model {wanted.name}: expected it to answer while it is loaded, got: {error.message} "
            "Do not serve it: no caller would be answered."
        ) from error
    content = [source.model.model_bytes]
    del source
    give_back(content)
    return model


def build_model(name: str, source: Source, max_batch_size: int) -> ServedModel:
    """Session, golden examples, warm-up and probe, in that order."""
    model = source.model
    session = OnnxSession(model.model_bytes, model.signature)
    notes = list(model.notes)
    if source.golden is not None:
        check_golden(source.golden, session.run, source.tolerance.rtol, source.tolerance.atol)
    else:
        notes += warm_up(session)
    reason = reason_against_batching(model.signature, session.run, _example_inputs(source.golden))
    return ServedModel(
        name=name,
        version=source.version,
        digest=source.digest,
        signature=model.signature,
        class_labels=model.class_labels,
        notes=tuple(notes),
        batchable=reason is None,
        batching_note=reason or "",
        session=session,
        max_batch_size=max_batch_size,
        baseline=source.baseline,
    )


def warm_up(session: OnnxSession) -> list[str]:
    """Runs made-up inputs, so that the first caller doesn't pay for ONNX Runtime's first allocations.

    Made-up values may be ones that the model rightly refuses (an index out of range), so that a failure is noted and
    no refusal. Returns the notes. Raises StatusError where one row's run finds no memory.
    """
    failure = ""
    for size in WARM_UP_SIZES:
        try:
            session.run(random_inputs(session.signature, size, size, np.random.default_rng(SEED)))
            return []
        except StatusError as error:
            if error.code is Code.RESOURCE_EXHAUSTED:
                raise
            failure = error.message
        if not _has_free_dimension(session.signature):
            break
    return [f"warm-up with made-up inputs failed ({failure})"]


def _example_inputs(golden: Golden | None) -> list[dict[str, Array]]:
    examples = golden.examples if golden is not None else ()
    return [{name: tensor.array for name, tensor in example.inputs.items()} for example in examples]


def _has_free_dimension(signature: Signature) -> bool:
    return any(FREE_DIMENSION in spec.shape for spec in signature.inputs)


def _source(wanted: ModelSettings, settings: Settings, pin: ModelPin | None) -> Source:
    if wanted.onnx is not None:
        return _file_source(wanted.onnx, pin)
    cache = BundleCache(settings.registry.cache)
    if settings.registry.path is None:
        assert pin is not None, "another process has asked the registry, and filled the cache"
        return _bundle_source(pin.version, cache.get(pin.digest))
    registry = FolderRegistry(settings.registry.path)
    if pin is None:
        version = registry.resolve(wanted.name, wanted.reference)
    else:
        # Not resolved: the alias may have moved since, and the registry need not answer for what the cache holds.
        version = Version(pin.name, int(pin.version), pin.digest, (), {})
    return _bundle_source(str(version.version), registry.fetch(version, cache))


def _file_source(path: Path, pin: ModelPin | None) -> Source:
    try:
        with path.open("rb", buffering=0) as file:
            file_bytes = read_at_most(file.fileno(), MODEL_BYTES_MAX + 1)
    except FileNotFoundError:
        raise UnservableModel(
            "onnx", expected="an ONNX file", got=f"no file at {path}", hint="Check the path."
        ) from None
    digest = hashlib.sha256(file_bytes).hexdigest()
    if pin is not None and digest != pin.digest:
        raise VerificationFailed(
            "onnx",
            expected=f"{path} with sha256 {pin.digest}, as it was when the server started",
            got=f"sha256 {digest}",
            hint="Put the old file back, or start the server anew to serve this one.",
        )
    return Source(BARE_FILE_VERSION, digest, read_onnx(file_bytes))


def _bundle_source(version: str, bundle: VerifiedBundle) -> Source:
    """The bundle's bytes as they were verified against the digest that the registry records."""
    check_contents(bundle)
    model = read_onnx(bundle.model_bytes)
    if bundle.manifest.class_labels is not None:
        model = replace(model, class_labels=bundle.manifest.class_labels)
    return Source(version, bundle.digest, model, bundle.golden(), bundle.manifest.tolerance, bundle.baseline())
