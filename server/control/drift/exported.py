"""Counts by bin for Prometheus, which adds them up over servers: what a whole fleet has seen, against one reference.

Used by the HTTP application; docs/prometheus/ has the rules that make a PSI of it. Always: bins are merged as judgement
merges them, so that sums over servers give the PSI that it would; every bin is there, with 0 where it has no rows; a
digest's counts are added to no other's; which features are shown follows from the baseline alone, so that no series
comes and goes; how many there are has a bound. All but the counts is made once, when a stable comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from registry_client.baseline.document import Feature
from server.control.drift.book import DriftBook
from server.control.drift.signals import Signal
from server.control.drift.watching import ModelDrift
from server.judgement.drift.layout import Integers

BY_BIN: Final = ["model", "digest", "signal", "feature", "bin"]
ROWS: Final = "roost_drift_rows"
ROWS_TOTAL: Final = f"{ROWS}_total"
REFERENCE: Final = "roost_drift_reference_rows"
DIGEST_DIGITS: Final = 12
RARE: Final = "rare"


class Watched(Protocol):
    """What is asked of `DriftWatch`."""

    @property
    def models(self) -> Mapping[str, ModelDrift]: ...

    @property
    def book(self) -> DriftBook: ...


@dataclass(frozen=True, eq=False)
class _Shown:
    """One signal of a stable. bins: int64[n], places of those that are shown among its merged bins, in their order.

    labels: of each. reference: the samples of its reference, which stay the same. left_out: features without series.
    """

    signal: Signal
    bins: Integers
    labels: tuple[dict[str, str], ...]
    reference: tuple[Sample, ...]
    left_out: int


class ExportedCollector(Collector):
    """features_max: of each model and signal."""

    def __init__(self, drift: Watched, features_max: int) -> None:
        self._drift = drift
        self._features_max = features_max
        self._known: dict[str, tuple[Sequence[Signal], tuple[_Shown, ...]]] = {}

    def collect(self) -> Iterator[Metric]:
        rows = CounterMetricFamily(ROWS, "Rows of the stable that fell into a bin", labels=BY_BIN)
        reference = GaugeMetricFamily(
            REFERENCE, "Rows in a bin that the stable's training reference has", labels=BY_BIN
        )
        left_out = GaugeMetricFamily(
            "roost_drift_features_left_out",
            "Features whose bins are not shown: see drift.export_features",
            labels=["model", "signal"],
        )
        for name, known in self._drift.models.items():
            if known.baseline is None or not known.signals:
                continue
            counted = self._drift.book.counted(name, known.digest)
            if counted is None or counted.size != known.baseline.bins:  # nothing was read since control began
                counted = np.zeros(known.baseline.bins, dtype=np.int64)
            for shown in self._of_model(name, known):
                merged = shown.signal.reference.merged(counted[shown.signal.bins])[shown.bins].tolist()
                rows.samples += [
                    Sample(ROWS_TOTAL, labels, count) for labels, count in zip(shown.labels, merged, strict=True)
                ]
                reference.samples += shown.reference
                left_out.add_metric([name, shown.signal.name], shown.left_out)
        yield from (rows, reference, left_out)

    def _of_model(self, name: str, known: ModelDrift) -> tuple[_Shown, ...]:
        made_of, shown = self._known.get(name, ((), ()))
        if made_of is not known.signals:
            shown = tuple(_made(name, known, signal, self._features_max) for signal in known.signals)
            self._known[name] = known.signals, shown
        return shown


def places_shown(features: Sequence[Feature], features_max: int) -> tuple[int, ...]:
    """Places of the most important features, in order; of those that are as important, or of unknown importance, the
    baseline's first."""
    ranked = sorted(range(len(features)), key=lambda place: -(features[place].importance or 0.0))
    return tuple(sorted(ranked[:features_max]))


def merged_bin_names(feature: Feature, merged_bin: Integers) -> tuple[str, ...]:
    """Names of a feature's merged bins, in order. merged_bin: int64[raw bins], from 0, where each raw bin goes.

    A number comes first: two codes may read alike in six digits, and then would be one series.
    """
    names = []
    for place in range(int(merged_bin.max()) + 1):
        raw = np.flatnonzero(merged_bin == place)
        names.append(f"{place:02} {feature.bins[raw[0]] if raw.size == 1 else RARE}")
    return tuple(names)


def _made(model: str, known: ModelDrift, signal: Signal, features_max: int) -> _Shown:
    baseline, reference = known.baseline, signal.reference
    assert baseline is not None, "a model that has signals has a baseline"
    first = int(np.searchsorted(baseline.offsets, signal.bins.start))
    features = baseline.features[first : first + reference.layout.features]
    bins: list[int] = []
    labels: list[dict[str, str]] = []
    for place in places_shown(features, features_max):
        raw = reference.merged_bin[reference.raw.offsets[place] : reference.raw.offsets[place + 1]]
        begin = int(reference.layout.offsets[place])
        for within, bin_name in enumerate(merged_bin_names(features[place], raw - begin)):
            bins.append(begin + within)
            values = (model, known.digest[:DIGEST_DIGITS], signal.name, features[place].name, bin_name)
            labels.append(dict(zip(BY_BIN, values, strict=True)))
    chosen = np.array(bins, dtype=np.int64)
    counts = reference.counts[chosen].tolist()
    samples = tuple(Sample(REFERENCE, label, count) for label, count in zip(labels, counts, strict=True))
    left_out = len(features) - min(len(features), features_max)
    return _Shown(signal, chosen, tuple(labels), samples, left_out)
