"""Prometheus metrics of the lifecycle: what is served with which weights, verdicts, and what waits to be written.

Used by the HTTP application. docs/reference/metrics.md lists them all and is tested against `lifecycle_families`.
Always: a scrape reads the driver's state, and changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from native.plane.routing import PPM
from server.control.driver import Driver
from server.judgement.verdicts import Verdict

MODEL: Final = ["model"]
SHADOW_OUTCOMES: Final = ("run", "skipped", "failed", "non_finite")
VARIANTS: Final = ("stable", "canary")


class LifecycleCollector(Collector):
    """Makes all families anew at each scrape."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def collect(self) -> Iterator[Metric]:
        return lifecycle_families(self._driver)


def lifecycle_families(driver: Driver) -> Iterator[Metric]:
    yield from _models(driver)
    yield from _canaries(driver)
    yield _shadows(driver)
    yield _decisions(driver.decisions_counted)
    yield from _written(driver)


def _models(driver: Driver) -> Iterator[Metric]:
    revision = GaugeMetricFamily("roost_model_revision", "The last decision's number", labels=MODEL)
    serving = GaugeMetricFamily("roost_model_serving", "1 where a stable version answers", labels=MODEL)
    weight = GaugeMetricFamily("roost_model_weight_ratio", "Share of the traffic", labels=[*MODEL, "variant"])
    frozen = GaugeMetricFamily("roost_model_frozen", "1 where no automatic action is taken", labels=MODEL)
    quarantined = GaugeMetricFamily("roost_model_quarantined", "Digests in quarantine", labels=MODEL)
    for name in driver.models:
        model = driver.state(name)
        revision.add_metric([name], model.revision)
        serving.add_metric([name], int(model.stable is not None))
        stable_ppm = PPM - model.weight_ppm if model.stable is not None else 0
        for variant, ppm in zip(VARIANTS, (stable_ppm, model.weight_ppm), strict=True):
            weight.add_metric([name, variant], ppm / PPM)
        frozen.add_metric([name], int(model.frozen))
        quarantined.add_metric([name], len(model.quarantine))
    yield from (revision, serving, weight, frozen, quarantined)


def _canaries(driver: Driver) -> Iterator[Metric]:
    verdict = GaugeMetricFamily("roost_canary_verdict", "1 for the verdict on the canary", labels=[*MODEL, "verdict"])
    worse = GaugeMetricFamily("roost_canary_e_worse", "E-value that the canary is worse", labels=MODEL)
    better = GaugeMetricFamily("roost_canary_e_not_worse", "E-value that it is not", labels=[*MODEL, "signal"])
    requests = GaugeMetricFamily("roost_canary_requests", "Canary requests that count as evidence", labels=MODEL)
    seen_events = GaugeMetricFamily(
        "roost_canary_events", "Failures that count as evidence, by signal and variant",
        labels=[*MODEL, "signal", "variant"],
    )  # fmt: skip
    for name, seen in driver.looks.items():
        for one in Verdict:
            verdict.add_metric([name, one.value], int(seen.judgement.verdict is one))
        worse.add_metric([name], seen.judgement.e_worse)
        requests.add_metric([name], seen.judgement.canary_requests)
        for signal in seen.judgement.signals:
            better.add_metric([name, signal.name], signal.e_pass)
            for variant, count in zip(VARIANTS, (signal.stable_events, signal.canary_events), strict=True):
                seen_events.add_metric([name, signal.name, variant], count)
    yield from (verdict, worse, better, requests, seen_events)


def _shadows(driver: Driver) -> Metric:
    family = GaugeMetricFamily(
        "roost_shadow_rows", "Rows offered to the shadow that runs, by what became of them", labels=[*MODEL, "outcome"]
    )
    counted: Counter[tuple[int, int, str]] = Counter()
    for cell in driver.cells():
        counted[cell.seat, cell.generation, "run"] += cell.shadowed
        counted[cell.seat, cell.generation, "skipped"] += cell.shadow_skipped
        counted[cell.seat, cell.generation, "failed"] += cell.shadow_errors
        counted[cell.seat, cell.generation, "non_finite"] += cell.shadow_non_finite
    for name, served in driver.models.items():
        seat = driver.publisher.routes[served.index].shadow
        if seat is not None:
            for outcome in SHADOW_OUTCOMES:
                family.add_metric([name, outcome], counted[seat.seat, seat.generation, outcome])
    return family


def _decisions(counted: Counter[tuple[str, str]]) -> Metric:
    family = CounterMetricFamily("roost_decisions", "Decisions since control started, by kind", labels=[*MODEL, "kind"])
    for (name, kind), count in sorted(counted.items()):
        family.add_metric([name, kind], count)
    return family


def _written(driver: Driver) -> Iterator[Metric]:
    journal = GaugeMetricFamily("roost_journal_entries", "Entries of the journal on disk")
    journal.add_metric([], driver.journal.head.number if driver.journal is not None else 0)
    yield journal
    head = GaugeMetricFamily("roost_journal_head", "1, with the digest of the last entry as label", labels=["digest"])
    if driver.journal is not None:
        head.add_metric([driver.journal.head.digest], 1)
    yield head
    held = GaugeMetricFamily("roost_plans_held", "1 where no plan goes further, because of the journal: see ListModels")
    held.add_metric([], int(bool(driver.keeper.hold)))
    yield held
    pending = GaugeMetricFamily(
        "roost_pending_writes",
        "What is decided and not written yet, by where it goes. For a second after a decision that is as it should be",
        labels=["to"],
    )
    for to, box in driver.boxes.items():
        pending.add_metric([to], box.pending)
    yield pending
    alerts = GaugeMetricFamily("roost_alerts", "Things that need somebody: see ListModels")
    alerts.add_metric([], len(driver.alerts))
    yield alerts
    up = GaugeMetricFamily("roost_registry_up", "1 where the registry was read and written when last tried")
    up.add_metric([], int(not any(key.startswith("registry") for key in driver.alerts)))
    yield up
    ready, following = driver.publisher.workers()
    lag = GaugeMetricFamily("roost_workers_behind", "Workers that serve and do not follow the newest routes yet")
    lag.add_metric([], ready - following)
    yield lag
    epoch = GaugeMetricFamily("roost_route_epoch", "Number of the newest route table")
    epoch.add_metric([], driver.publisher.epoch)
    yield epoch
