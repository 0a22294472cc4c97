"""Prometheus metrics: every row of the counters table, summed over workers, and the workers' states.

Used by the HTTP application. Names are the table's; docs/reference/metrics.md lists them all and is tested against
`metric_families`. Always: a scrape reads the plane and nothing else, so that it costs a worker nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import product
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from native.plane.counters import ROWS_OF_TABLE, Kind, Row
from native.plane.layout import Words, WorkerState
from server.control.plane_reader import PlaneReader, WorkerView
from server.version import VERSION

WORKER: Final = ["worker"]


class PlaneCollector(Collector):
    """Makes all metric families anew at each scrape."""

    def __init__(self, reader: PlaneReader) -> None:
        self._reader = reader

    def collect(self) -> Iterator[Metric]:
        return metric_families(self._reader, time.monotonic_ns())


def metric_families(reader: PlaneReader, now_ns: int) -> Iterator[Metric]:
    """All that /metrics shows, in its order."""
    totals = reader.totals()
    for row in ROWS_OF_TABLE:
        yield _family(row, totals)
    workers = reader.workers(now_ns)
    yield _states(workers)
    yield from _per_worker(workers)
    restarts = CounterMetricFamily("roost_control_restarts", "Times the control process was started again")
    restarts.add_metric([], reader.control_restarts)
    yield restarts
    started = GaugeMetricFamily("roost_start_time_seconds", "When the server was started, in seconds since 1970 UTC")
    started.add_metric([], reader.started_utc_s)
    yield started
    build = GaugeMetricFamily("roost_build_info", "1, with the version as label", labels=["version"])
    build.add_metric([VERSION], 1)
    yield build


def _family(row: Row, totals: Words) -> Metric:
    cells = [int(cell) for cell in totals[row.offset : row.stop]]
    if row.kind is Kind.HISTOGRAM:
        return _histogram(row, cells)
    kind = CounterMetricFamily if row.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(row.name, row.help, labels=[label.name for label in row.labels])
    for values, cell in zip(product(*(label.values for label in row.labels)), cells, strict=True):
        family.add_metric(list(values), cell * row.unit)
    return family


def _histogram(row: Row, cells: list[int]) -> Metric:
    """Buckets are counted apart and exported cumulated, as Prometheus wants them."""
    *counts, total = cells
    bounds = [f"{bound * row.unit:.9g}" for bound in row.bounds] + ["+Inf"]
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip(bounds, counts, strict=True):
        below += count
        buckets.append((bound, below))
    family = HistogramMetricFamily(row.name, row.help)
    family.add_metric([], buckets, total * row.unit)
    return family


def _states(workers: tuple[WorkerView, ...]) -> Metric:
    family = GaugeMetricFamily("roost_worker_state", "1 for the state that a worker is in", labels=[*WORKER, "state"])
    for worker in workers:
        for state in WorkerState:
            family.add_metric([str(worker.index), state.name.lower()], int(worker.state is state))
    return family


def _per_worker(workers: tuple[WorkerView, ...]) -> Iterator[Metric]:
    restarts = CounterMetricFamily("roost_worker_restarts", "Times a worker was started again", labels=WORKER)
    connections = GaugeMetricFamily("roost_worker_connections", "Connections open, by worker", labels=WORKER)
    stuck = GaugeMetricFamily("roost_worker_stuck", "1 where a worker's loop gives no sign of life", labels=WORKER)
    for worker in workers:
        restarts.add_metric([str(worker.index)], worker.restarts)
        connections.add_metric([str(worker.index)], worker.connections)
        stuck.add_metric([str(worker.index)], int(worker.is_stuck))
    yield from (restarts, connections, stuck)
