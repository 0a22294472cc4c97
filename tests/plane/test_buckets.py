"""Histogram buckets against the exported bounds, searched by bisection."""

from bisect import bisect_left
from collections.abc import Callable

import pytest

from native.plane.buckets import latency_bucket, rows_bucket
from native.plane.counters import BATCH_ROWS, LATENCY, ROWS_OF_TABLE

BOUNDS = {row.offset: row.bounds for row in ROWS_OF_TABLE}


def edges(bounds: tuple[int, ...]) -> list[int]:
    return [-1, 0, *(bound + step for bound in bounds for step in (-1, 0, 1)), 2**62]


@pytest.mark.parametrize("run", [lambda kernel: kernel, lambda kernel: kernel.py_func], ids=["compiled", "python"])
@pytest.mark.parametrize(("kernel", "row"), [(latency_bucket, LATENCY), (rows_bucket, BATCH_ROWS)])
def test_a_value_falls_into_the_first_bucket_whose_bound_holds_it(
    run: Callable[[object], Callable[[int], int]], kernel: object, row: int
) -> None:
    bounds = BOUNDS[row]
    for value in edges(bounds):
        assert run(kernel)(value) == bisect_left(bounds, value), value
