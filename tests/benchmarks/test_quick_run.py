"""A quick run has every row of the table, finite figures, and a lane that costs little more than its transport."""

from __future__ import annotations

import itertools
import math
import socket
from typing import Any

import pytest

from benchmarks.targets import THROUGHPUT_TO_NGHTTPD_MIN, THROUGHPUT_TO_PLAIN_MIN

# It starts nine servers and measures them, whatever else the machine does.
pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]

METHODS = ("Predict", "ModelInfer")
SERVERS = ("Roost, {}", "nghttpd, {} body", "Roost on grpcio, {}", "plain grpc.aio, {}")
COUNTED = tuple(f"Roost, Predict, rows {how}" for how in ("counted", "not counted"))
CONTENDERS = {name.format(method) for name in SERVERS for method in METHODS}
CONTENDERS |= {"employment, Predict, one repeated row", *COUNTED}
LOADS = {(1, 1), (64, 4), (256, 4), (64, 64)}
CPU_TO_NGHTTPD_MAX = 4.0  # twice what `make bench` asks: other tests may run on these cores


def test_every_contender_has_a_row_at_every_load(quick_run: dict[str, Any]) -> None:
    rows = {(row["contender"], row["in_flight"], row["connections"]) for row in quick_run["rows"]}
    assert rows == {(name, *load) for name, load in itertools.product(CONTENDERS, LOADS)}


def test_every_figure_of_the_table_is_finite_and_above_zero(quick_run: dict[str, Any]) -> None:
    may_be_zero = {"contender", "spread", "others_share", "verified_answers"}
    for row in quick_run["rows"]:
        for name in row.keys() - may_be_zero:
            assert math.isfinite(row[name]), (row["contender"], name)
            assert row[name] > 0, (row["contender"], name)
        assert row["p50_us"] <= row["p99_us"]


def test_nghttpd_and_the_plain_server_are_compared_with_themselves_at_1(quick_run: dict[str, Any]) -> None:
    for row in quick_run["rows"]:
        if row["contender"].startswith("nghttpd"):
            assert row["cpu_to_nghttpd"] == row["throughput_to_nghttpd"] == 1
            assert row["p50_to_nghttpd"] == row["p99_to_nghttpd"] == 1
        if row["contender"].startswith("plain"):
            assert row["cpu_to_plain"] == row["throughput_to_plain"] == 1
            assert row["p50_to_plain"] == row["p99_to_plain"] == 1


def test_answers_of_every_model_server_are_read_beside_the_load(quick_run: dict[str, Any]) -> None:
    for row in quick_run["rows"]:
        assert (row["verified_answers"] > 0) == (not row["contender"].startswith("nghttpd")), row["contender"]


@pytest.mark.parametrize("method", METHODS)
def test_a_request_costs_at_most_four_times_the_cpu_of_its_transport(quick_run: dict[str, Any], method: str) -> None:
    (row,) = [row for row in quick_run["rows"] if row["contender"] == f"Roost, {method}" and row["in_flight"] == 256]
    assert row["cpu_to_nghttpd"] <= CPU_TO_NGHTTPD_MAX


@pytest.mark.parametrize("method", METHODS)
def test_speed_is_far_above_a_python_server_and_near_the_transports(quick_run: dict[str, Any], method: str) -> None:
    """A short run on a busy machine: half of what `make bench BENCH=--check` wants."""
    (row,) = [row for row in quick_run["rows"] if row["contender"] == f"Roost, {method}" and row["in_flight"] == 256]
    assert row["throughput_to_nghttpd"] >= THROUGHPUT_TO_NGHTTPD_MIN / 2
    assert row["throughput_to_plain"] >= THROUGHPUT_TO_PLAIN_MIN / 2


def test_one_call_in_flight_is_answered_sooner_than_by_a_python_server(quick_run: dict[str, Any]) -> None:
    got = [target["got"] for target in quick_run["targets"] if "p50" in target["what"]]
    assert len(got) == len(METHODS)
    assert max(got) < 1


def test_bare_onnx_runtime_is_measured_at_every_batch_size(quick_run: dict[str, Any]) -> None:
    sizes = [2**power for power in range(11)]
    assert [speed["rows"] for speed in quick_run["bare_onnxruntime"]] == sizes
    assert [speed["rows"] for speed in quick_run["employment"]["bare_onnxruntime"]] == sizes
    assert math.isfinite(quick_run["employment"]["share_of_bare"])


def test_the_targets_of_both_methods_and_of_the_employment_model_are_judged(quick_run: dict[str, Any]) -> None:
    judged = [target["what"].split(",")[0].split(":")[0] for target in quick_run["targets"]]
    assert judged == ["Predict"] * 4 + ["ModelInfer"] * 4 + ["Predict", "employment"]
    assert all(math.isfinite(target["got"]) for target in quick_run["targets"])


def test_the_page_has_the_rows_and_names_no_host_and_no_path(quick_run: dict[str, Any]) -> None:
    page = quick_run["page"]
    for row in quick_run["rows"]:
        assert f"| {row['contender']} | {row['requests_per_s']:,.0f} |" in page
    for secret in (socket.gethostname() + ".", "/tmp", "/home", "/root"):
        assert secret not in page
