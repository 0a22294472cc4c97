"""Prometheus metrics of drift: what the last windows said, and the features of most concern.

Used by the HTTP application. docs/reference/metrics.md lists them all. Always: as many series as FEATURES_SHOWN allows,
however wide a model is; a scrape reads what is known and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.control.drift.watching import DriftWatch
from server.control.drift.windows import WindowKind
from server.judgement.drift.canary import Whose
from server.judgement.drift.report import Verdict

FEATURES_SHOWN: Final = 10  # of each model, signal and length of windows, those of most concern
LENGTHS_OF_FEATURES: Final = (WindowKind.HOUR, WindowKind.DAY)
BY_WINDOW: Final = ["model", "signal", "window"]


class DriftCollector(Collector):
    """Makes all families anew at each scrape."""

    def __init__(self, drift: DriftWatch) -> None:
        self._drift = drift

    def collect(self) -> Iterator[Metric]:
        return drift_families(self._drift)


def drift_families(drift: DriftWatch) -> Iterator[Metric]:
    verdict = GaugeMetricFamily(
        "roost_drift_verdict", "1 for what the last window says", labels=[*BY_WINDOW, "verdict"]
    )
    rows = GaugeMetricFamily("roost_drift_window_rows", "Rows of the last window", labels=BY_WINDOW)
    weighted = GaugeMetricFamily(
        "roost_drift_weighted_psi", "Debiased PSI of all features, by the model's leaning on each", labels=BY_WINDOW
    )
    detector = GaugeMetricFamily(
        "roost_drift_detector_ratio", "Logarithm of the detector, as a share of what an alarm needs", labels=BY_WINDOW
    )
    psi = GaugeMetricFamily(
        "roost_drift_psi",
        f"Debiased PSI of the {FEATURES_SHOWN} features of most concern, of the last hour and day",
        labels=[*BY_WINDOW, "feature"],
    )
    for name, known in drift.models.items():
        for (signal, kind), seen in list(known.reports.items()):
            place, report = [name, signal, kind.word], seen.report
            for one in Verdict:
                verdict.add_metric([*place, one.value], int(report.verdict is one))
            rows.add_metric(place, report.rows)
            weighted.add_metric(place, report.weighted_psi0)
            detector.add_metric(place, max(report.log_r, 0.0) / report.limits.log_threshold)
            if kind in LENGTHS_OF_FEATURES:
                for feature in report.features[:FEATURES_SHOWN]:
                    psi.add_metric([*place, feature.name], feature.psi0)
    yield from (verdict, rows, weighted, detector, psi)
    differs = GaugeMetricFamily(
        "roost_drift_canary_verdict", "1 for whose shift the canary's predictions show", labels=["model", "verdict"]
    )
    evidence = GaugeMetricFamily(
        "roost_drift_canary_evidence_ratio",
        "Logarithm of the canary's e-value beside its stable, as a share of what an alarm needs",
        labels=["model"],
    )
    for name in drift.models:
        beside = drift.beside(name).report
        if beside is not None:
            for whose in Whose:
                differs.add_metric([name, whose.value], int(beside.whose is whose))
            evidence.add_metric([name], max(beside.log_e, 0.0) / -math.log(beside.limits.alpha))
    yield from (differs, evidence)
    looks = CounterMetricFamily("roost_drift_looks", "Readings of all counts")
    looks.add_metric([], drift.looks)
    yield looks
    seconds = CounterMetricFamily("roost_drift_look_seconds", "Time that reading and judging took")
    seconds.add_metric([], drift.look_s)
    yield seconds
