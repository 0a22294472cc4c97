"""/metrics: what a worker counted is what Prometheus reads, and it never goes backwards."""

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from native.plane import counters
from native.plane.counters import ROWS_OF_TABLE, Kind
from native.plane.layout import HEADER_RESTARTS, HEADER_SEQUENCE, PLANE_CONTROL_RESTARTS, Plane, WorkerState
from native.plane.seqlock import publish
from server.control.drift.exported import ExportedCollector
from server.control.drift.metrics import drift_families
from server.control.drift.watching import DriftWatch
from server.control.http import application
from server.control.lifecycle_metrics import lifecycle_families
from server.control.metrics import PlaneCollector, metric_families
from server.control.plane_reader import PlaneReader
from server.control.webhooks.metrics import webhook_families
from server.control.webhooks.webhooks import Webhooks
from tests.control.driven_server import started_driver

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/metrics.md").read_text()


def sample(plane: Plane, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(PlaneCollector(PlaneReader(plane)))
    return registry.get_sample_value(name, labels)


def count(plane: Plane, worker: int, **cells: int) -> None:
    """A worker of the given index counts, publishes and is ready."""
    block = plane.block(worker)
    private = block.begin(pid=100 + worker, generation=1)
    for name, value in cells.items():
        private[getattr(counters, name)] += value
    publish(private, block.counters, block.header)
    block.enter(WorkerState.READY)


@pytest.mark.parametrize(
    "row", [row for row in ROWS_OF_TABLE if row.kind is not Kind.HISTOGRAM], ids=lambda row: row.name
)
def test_every_cell_is_exported_under_its_own_labels(row: counters.Row) -> None:
    plane = Plane.create(1)
    block = plane.block(0)
    private = block.begin(pid=1, generation=1)
    private[row.offset : row.stop] = range(1, row.length + 1)
    publish(private, block.counters, block.header)
    block.enter(WorkerState.READY)
    suffix = "_total" if row.kind is Kind.COUNTER else ""
    expected = 1
    for first in row.labels[0].values if row.labels else [None]:
        for second in row.labels[1].values if len(row.labels) > 1 else [None]:
            labels = {}
            if first is not None:
                labels[row.labels[0].name] = first
            if second is not None:
                labels[row.labels[1].name] = second
            assert sample(plane, row.name + suffix, **labels) == expected
            expected += 1


def test_a_request_is_counted_by_method_and_status() -> None:
    plane = Plane.create(1)
    block = plane.block(0)
    private = block.begin(pid=1, generation=1)
    private[counters.REQUESTS + counters.METHOD_MODEL_INFER * counters.STATUS_COUNT + 8] = 4
    publish(private, block.counters, block.header)
    assert sample(plane, "roost_requests_total", method="model_infer", status="RESOURCE_EXHAUSTED") == 4


def test_workers_are_summed() -> None:
    plane = Plane.create(3)
    for worker in range(3):
        count(plane, worker, ROWS=10 + worker, CONNECTIONS=2)
    assert sample(plane, "roost_rows_total") == 33
    assert sample(plane, "roost_connections") == 6


def test_a_histogram_is_cumulated_and_in_seconds() -> None:
    plane = Plane.create(1)
    count(plane, 0, LATENCY=1, LATENCY_SUM_NS=3_000_000_000)
    block = plane.block(0)
    block.counters[counters.LATENCY + 1] = 2
    block.counters[counters.LATENCY + counters.LATENCY_BUCKETS - 1] = 4  # longer than every bound
    name = "roost_request_latency_seconds"
    assert sample(plane, f"{name}_bucket", le="1.024e-06") == 1
    assert sample(plane, f"{name}_bucket", le="2.048e-06") == 3
    assert sample(plane, f"{name}_bucket", le="1099.51163") == 3
    assert sample(plane, f"{name}_bucket", le="+Inf") == 7
    assert sample(plane, f"{name}_count") == 7
    assert sample(plane, f"{name}_sum") == 3


def test_counters_do_not_go_backwards_when_a_worker_dies_and_comes_back() -> None:
    plane = Plane.create(1)
    reader = PlaneReader(plane)
    seen = []
    for generation in (1, 2, 3):
        block = plane.block(0)
        private = block.begin(pid=generation, generation=generation)
        block.enter(WorkerState.READY)
        private[counters.ROWS] += 5
        private[counters.CONNECTIONS] = 9
        publish(private, block.counters, block.header)
        seen.append(reader.totals()[counters.ROWS])
        block.enter(WorkerState.DEAD)
        seen.append(reader.totals()[counters.ROWS])
        assert reader.totals()[counters.CONNECTIONS] == 0, "a dead worker has no connections"
    assert seen == [5, 5, 10, 10, 15, 15]


def test_a_worker_killed_while_it_published_is_counted_all_the_same() -> None:
    plane = Plane.create(1)
    count(plane, 0, ROWS=5)
    plane.block(0).header[HEADER_SEQUENCE] += 1
    plane.block(0).enter(WorkerState.DEAD)
    assert sample(plane, "roost_rows_total") == 5


def test_restarts_and_states_are_exported() -> None:
    plane = Plane.create(2)
    count(plane, 0)
    plane.block(0).header[HEADER_RESTARTS] = 3
    plane.words[PLANE_CONTROL_RESTARTS] = 2
    assert sample(plane, "roost_worker_restarts_total", worker="0") == 3
    assert sample(plane, "roost_control_restarts_total") == 2
    assert sample(plane, "roost_worker_state", worker="0", state="ready") == 1
    assert sample(plane, "roost_worker_state", worker="0", state="dead") == 0
    assert sample(plane, "roost_worker_state", worker="1", state="absent") == 1


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_a_scrape_is_readable_in_both_formats(accept: str) -> None:
    plane = Plane.create(1)
    count(plane, 0, ROWS=7)
    answer = TestClient(application(PlaneReader(plane), started_driver(plane), "h:1")).get(
        "/metrics", headers={"accept": accept}
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(accept.split(";")[0])
    assert "roost_rows_total 7.0" in answer.text
    if accept == "text/plain":
        names = {family.name for family in text_string_to_metric_families(answer.text)}
        assert "roost_requests" in names


def test_the_page_of_metrics_lists_all_and_only_what_is_exported() -> None:
    exported = []
    plane = Plane.create(1)
    driver = started_driver(plane)
    drift = DriftWatch(driver, plane)
    families = [
        *metric_families(PlaneReader(plane), time.monotonic_ns()),
        *lifecycle_families(driver),
        *drift_families(drift),
        *ExportedCollector(drift, 50).collect(),
        *webhook_families(Webhooks((), None, driver.alert)),
    ]
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in _labels(family)) or "none"
        exported.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    documented = [line for line in PAGE.splitlines() if line.startswith("| `roost_")]
    assert documented == exported


@pytest.mark.parametrize("row", [row for row in ROWS_OF_TABLE if row.labels], ids=lambda row: row.name)
def test_the_page_of_metrics_names_every_value_of_a_label(row: counters.Row) -> None:
    for label in row.labels:
        for value in label.values:
            assert f"`{value}`" in PAGE, value


def _labels(family: object) -> list[str]:
    samples = family.samples  # type: ignore[attr-defined]
    if not samples:
        return list(family._labelnames)  # type: ignore[attr-defined]
    return [label for label in samples[0].labels if label != "le"]
