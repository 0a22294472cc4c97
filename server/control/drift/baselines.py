"""Baselines by digest: what an artifact's rows are compared with, as arrays in the order of its counts.

Used by whoever reads the plane (`bins`), judges, or shows. Reading one hashes its whole bundle: call it in a thread.
Always: the flat order is that of `baseline.inputs`, then `baseline.predictions`, bins end to end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from registry_client.baseline.document import BASELINE_FILE, Baseline, Feature
from registry_client.baseline.fitting import check_baseline_fits
from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError
from registry_client.verify import VerifiedBundle
from server.control.drift.windows import Counts, sealed

REMEMBERED_MAX: Final = 128  # as many as there are seats


@dataclass(frozen=True, eq=False)
class ArtifactBaseline:
    """features: inputs, then predictions. offsets: int64[F + 1]: feature f has bins offsets[f]:offsets[f + 1].

    reference: int64[T], rows of the reference by bin.
    """

    digest: str
    baseline: Baseline
    features: tuple[Feature, ...]
    offsets: npt.NDArray[np.int64]
    reference: Counts

    @property
    def bins(self) -> int:
        """T, of all features together."""
        return int(self.offsets[-1])

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features; an input and a prediction may have the same."""
        return tuple(feature.name for feature in self.features)

    @property
    def inputs(self) -> int:
        """How many of the features are inputs; the rest are predictions."""
        return len(self.baseline.inputs)

    def of_feature(self, counts: Counts, feature: int) -> Counts:
        """The bins of one feature: int64[..., n] of int64[..., T]."""
        part: Counts = counts[..., self.offsets[feature] : self.offsets[feature + 1]]
        return part

    def rows(self, counts: Counts) -> int:
        """How many rows int64[T] are: each is in one bin of the first feature."""
        return int(self.of_feature(counts, 0).sum())

    def reference_at(self, hour_of_week: int) -> Counts | None:
        """int64[T] of this hour's rows of the reference, Monday 0:00 UTC first; None where a feature has no times."""
        hours = [feature.by_hour[hour_of_week] for feature in self.features if feature.by_hour is not None]
        return _flat(hours) if len(hours) == len(self.features) else None

    def has_bins_of(self, other: ArtifactBaseline) -> bool:
        """True where counts of both mean the same, bin by bin, and may be added up."""
        return _meaning(self.baseline.inputs) == _meaning(other.baseline.inputs) and _meaning(
            self.baseline.predictions
        ) == _meaning(other.baseline.predictions)


@dataclass(frozen=True)
class NoBaseline:
    """reason: for people, with what to do."""

    digest: str
    reason: str


def baseline_of(bundle: VerifiedBundle) -> ArtifactBaseline | NoBaseline:
    """What the bundle has. Pure."""
    try:
        baseline = bundle.baseline()
        if baseline is None:
            return NoBaseline(
                bundle.digest,
                f"{bundle.manifest.name}: its bundle has no {BASELINE_FILE}, and drift is not seen. Bundle it anew "
                "with roost bundle --reference.",
            )
        check_baseline_fits(baseline, bundle.manifest.signature)
    except ArtifactError as error:
        return NoBaseline(bundle.digest, str(error))
    features = baseline.inputs + baseline.predictions
    offsets = sealed(np.cumsum([0, *(len(feature.counts) for feature in features)], dtype=np.int64))
    return ArtifactBaseline(bundle.digest, baseline, features, offsets, _flat([one.counts for one in features]))


class Baselines:
    """Of one cache. What a bundle has is remembered; a bundle that can't be read is tried again when asked for."""

    def __init__(self, cache: BundleCache) -> None:
        self._cache = cache
        self._found: dict[str, ArtifactBaseline | NoBaseline] = {}

    @property
    def known(self) -> Mapping[str, ArtifactBaseline | NoBaseline]:
        """By digest, what was read already. Never blocks."""
        return self._found

    def read(self, digest: str) -> ArtifactBaseline | NoBaseline:
        """Blocks for as long as the bundle takes to be read and hashed."""
        found = self._found.get(digest)
        if found is not None:
            return found
        try:
            found = baseline_of(self._cache.get(digest))
        except (ArtifactError, OSError) as error:
            return NoBaseline(digest, f"its bundle can't be read from the cache, and drift is not seen: {error}")
        self._found[digest] = found
        while len(self._found) > REMEMBERED_MAX:
            del self._found[next(iter(self._found))]
        return found


def _flat(parts: list[tuple[int, ...]]) -> Counts:
    return sealed(np.concatenate([np.array(part, dtype=np.int64) for part in parts]))


def _meaning(features: tuple[Feature, ...]) -> list[tuple[object, ...]]:
    return [(one.tensor, one.column, one.kind, one.points) for one in features]
