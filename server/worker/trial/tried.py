"""Tries one artifact as a worker would load it, within limits, and says what came of it.

Used by `python -m server.worker.trial`.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError
from registry_client.tensors import Signature
from server.processes import ModelPin
from server.settings import Settings, TrialSettings
from server.trials import TrialSpec, TrialVerdict
from server.worker.models.fitting import fit
from server.worker.models.loading import ModelRefused, load_model
from server.worker.models.served import ServedModel
from server.worker.models.warming import warm_batches
from server.worker.status import Code

PAGE_BYTES = resource.getpagesize()


def set_limits(settings: TrialSettings) -> None:
    """Of this process: its address space, its time on a processor; and it leaves no core file."""
    resource.setrlimit(resource.RLIMIT_AS, (settings.memory_bytes_max, settings.memory_bytes_max))
    seconds = max(1, round(settings.load_timeout_s))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def tried(spec: TrialSpec) -> TrialVerdict:
    """Loads, checks and warms the artifact."""
    settings = spec.settings
    started, before = time.monotonic(), resident_bytes()
    try:
        wanted = next(model for model in settings.models if model.name == spec.name)
        model = load_model(wanted, settings, ModelPin(name=spec.name, version=spec.version, digest=spec.digest))
        if spec.stable_digest is not None:
            _check_signature(model, spec.stable_digest, settings)
        fit(model, settings.batching)
        failure = warm_batches(model) if model.batchable else None
        if failure is not None and failure.code is Code.RESOURCE_EXHAUSTED:
            return _too_large(settings)
    except (ModelRefused, ArtifactError) as error:
        return TrialVerdict(ok=False, reason=str(error))
    except MemoryError:
        return _too_large(settings)
    grown = max(0, resident_bytes() - before)
    return TrialVerdict(ok=True, rss_bytes=grown, batchable=model.batchable, seconds=time.monotonic() - started)


def _too_large(settings: Settings) -> TrialVerdict:
    limit = settings.trial.memory_bytes_max
    return TrialVerdict(
        ok=False,
        reason=f"trial: expected it to fit into {limit} bytes with a batch of its largest size "
        "(trial.memory_bytes_max), got more. Make the model smaller, or raise the limit.",
    )


def _check_signature(model: ServedModel, stable_digest: str, settings: Settings) -> None:
    """A canary answers the same calls with the same outputs, in the same order: rows are read once for either."""
    stable = BundleCache(settings.registry.cache).get(stable_digest).manifest.signature
    difference = signature_difference(stable, model.signature)
    if difference:
        raise ModelRefused(f"model {model.name}: {difference} Register it under another name, or change its signature.")


def signature_difference(stable: Signature, other: Signature) -> str:
    """The first difference in one sentence, or ""."""
    for kind, ours, theirs in (("inputs", stable.inputs, other.inputs), ("outputs", stable.outputs, other.outputs)):
        if len(ours) != len(theirs):
            return f"{kind}: expected {len(ours)} of them, as the stable has, got {len(theirs)}."
        for index, (own, new) in enumerate(zip(ours, theirs, strict=True)):
            if own != new:
                return (
                    f"{kind}[{index}]: expected {own.name} {own.datatype.name} {list(own.shape)}, as the stable has, "
                    f"got {new.name} {new.datatype.name} {list(new.shape)}."
                )
    return ""


def resident_bytes() -> int:
    """Of this process, now, without what it maps of files: libraries' pages, of which a worker has had its own."""
    _, resident, of_files, *_ = map(int, Path("/proc/self/statm").read_text().split())
    return (resident - of_files) * PAGE_BYTES
