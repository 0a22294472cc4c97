"""The counters table: offsets that kernels freeze must point at the cells that control exports under their name."""

import pytest

from native.plane import counters
from native.plane.counters import (
    COUNTERS_LENGTH,
    CUTOFF_REASONS,
    LATENCY,
    LATENCY_BUCKETS,
    LATENCY_SUM_NS,
    METHODS,
    REFUSAL_REASONS,
    REQUESTS,
    ROWS_OF_TABLE,
    STATUS_COUNT,
    Kind,
)


def test_rows_cover_the_vector_without_gap_or_overlap() -> None:
    stops = [0, *(row.stop for row in ROWS_OF_TABLE)]
    assert [row.offset for row in ROWS_OF_TABLE] == stops[:-1]
    assert stops[-1] == COUNTERS_LENGTH


def test_no_two_rows_have_one_name() -> None:
    names = [row.name for row in ROWS_OF_TABLE]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", ROWS_OF_TABLE, ids=lambda row: row.name)
def test_a_row_has_a_cell_for_every_combination_of_its_labels(row: counters.Row) -> None:
    if row.kind is Kind.HISTOGRAM:
        expected = len(row.bounds) + 2
    else:
        expected = 1
        for label in row.labels:
            expected *= len(label.values)
    assert row.length == expected


@pytest.mark.parametrize(
    ("prefix", "first", "reasons"),
    [("CUTOFF", counters.CUTOFFS, CUTOFF_REASONS), ("REFUSAL", counters.REFUSALS, REFUSAL_REASONS)],
)
def test_the_constant_of_a_reason_points_at_its_cell(prefix: str, first: int, reasons: tuple[str, ...]) -> None:
    constants = {name for name in vars(counters) if name.startswith(f"{prefix}_") and name != f"{prefix}_REASONS"}
    assert constants == {f"{prefix}_{reason.upper()}" for reason in reasons}
    for index, reason in enumerate(reasons):
        assert getattr(counters, f"{prefix}_{reason.upper()}") == first + index


def test_the_last_request_cell_is_the_last_method_with_the_last_status() -> None:
    row = next(row for row in ROWS_OF_TABLE if row.name == "roost_requests")
    assert row.offset == REQUESTS
    assert REQUESTS + (len(METHODS) - 1) * STATUS_COUNT + STATUS_COUNT - 1 == row.stop - 1


def test_the_statuses_are_those_of_grpc_in_the_order_of_their_codes() -> None:
    import grpc

    assert [code.name for code in sorted(grpc.StatusCode, key=lambda code: code.value[0])] == list(counters.STATUSES)


def test_a_histogram_keeps_its_sum_behind_its_buckets() -> None:
    row = next(row for row in ROWS_OF_TABLE if row.offset == LATENCY)
    assert row.offset + LATENCY_BUCKETS == LATENCY_SUM_NS == row.stop - 1
    assert row.bounds[0] == 1024
    assert len(row.bounds) == LATENCY_BUCKETS - 1
