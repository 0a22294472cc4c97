"""Whose rows are replayed: an artifact, what its rows are compared with, and which of its features can be.

Used by `files` and `replaying`. Always: what the server would read of the bundle, through the same functions; features
that the files say nothing of are left out before anything is judged, and named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from registry_client.baseline.document import BASELINE_FILE, Baseline, Feature
from registry_client.baseline.recording import Recording
from registry_client.errors import BadDocument
from registry_client.tensors import Signature
from registry_client.verify import VerifiedBundle
from server.control.drift.baselines import ArtifactBaseline, NoBaseline, baseline_of
from server.control.drift.policies import policy_of
from server.control.drift.signals import Signal, signals_of
from server.judgement.drift.policy import Response
from server.judgement.drift.reference import TooFewRows
from server.settings import DriftSettings


class NothingToCompare(Exception):
    """There is nothing that the rows could be judged by. One line, with what to do."""


@dataclass(frozen=True, eq=False)
class Subject:
    """name: as people call the version. bundle: as it was verified. left_out: features that are not judged."""

    name: str
    bundle: VerifiedBundle
    artifact: ArtifactBaseline
    signals: tuple[Signal, ...]
    left_out: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return self.bundle.digest

    @property
    def signature(self) -> Signature:
        return self.bundle.manifest.signature

    @property
    def counted(self) -> frozenset[str]:
        """Names of the tensors that have features."""
        return frozenset(feature.tensor for feature in self.artifact.features)

    @property
    def has_predictions(self) -> bool:
        return bool(self.artifact.baseline.predictions)


def subject_of(name: str, bundle: VerifiedBundle) -> Subject:
    """All that the bundle's baseline has. Raises NothingToCompare."""
    artifact = baseline_of(bundle)
    if isinstance(artifact, NoBaseline):
        raise NothingToCompare(artifact.reason)
    try:
        return Subject(name, bundle, artifact, signals_of(artifact))
    except ValueError as error:
        raise NothingToCompare(f"{name}: {error}") from error


def without_predictions(subject: Subject) -> Subject:
    """For files that the model can't be run on."""
    baseline = subject.artifact.baseline
    return _reduced(subject, replace(baseline, predictions=()), [one.name for one in baseline.predictions])


def as_recorded(subject: Subject, recordings: Sequence[Recording]) -> Subject:
    """What all of these have in them. Raises BadDocument where nothing is left."""
    baseline = subject.artifact.baseline
    left_out: list[str] = []

    def kept(features: tuple[Feature, ...], of_inputs: bool) -> tuple[Feature, ...]:
        lacking = {
            feature
            for feature in features
            for recording in recordings
            if recording.lacks(feature, recording.inputs if of_inputs else recording.outputs)
        }
        left_out.extend(feature.name for feature in features if feature in lacking)
        return tuple(feature for feature in features if feature not in lacking)

    inputs, predictions = kept(baseline.inputs, True), kept(baseline.predictions, False)
    if not inputs:
        raise BadDocument(
            "recordings", expected="one input's column at least", got="none: all of them were left out as redacted",
            hint="Record some of them: record.redact.",
        )  # fmt: skip
    return _reduced(subject, replace(baseline, inputs=inputs, predictions=predictions), left_out)


def _reduced(subject: Subject, baseline: Baseline, left_out: list[str]) -> Subject:
    if not left_out:
        return subject
    # As if the bundle had been made so: what reads it is what reads it in the server.
    files = {**subject.bundle.files, BASELINE_FILE: baseline.to_bytes()}
    fewer = subject_of(subject.name, replace(subject.bundle, files=files))
    return replace(fewer, bundle=subject.bundle, left_out=(*subject.left_out, *left_out))


def unjudged(subject: Subject, settings: DriftSettings) -> tuple[str, ...]:
    """What the settings leave unjudged, a sentence each. Raises NothingToCompare where that is everything."""
    policy = policy_of(settings)
    found = []
    for signal in subject.signals:
        if policy.response(signal.name) is Response.OFF:
            found.append(f"{signal.name} are not judged: drift.{signal.name} is off")
            continue
        try:
            signal.reference.check_rows(settings.tau)
        except TooFewRows as error:
            found.append(f"{signal.name} can't be judged: {error}")
    if len(found) == len(subject.signals):
        raise NothingToCompare("; ".join(found))
    return tuple(found)
