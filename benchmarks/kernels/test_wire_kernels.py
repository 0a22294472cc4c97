"""Time of each wire kernel on its typical arguments: `python -m pytest benchmarks/kernels --benchmark-only`.

Walks the tests' table, so that what is timed is what is checked. Calls go from a compiled loop, which is how the
callbacks call: from Python, unpacking the arguments would take longer than the kernel.
"""

from __future__ import annotations

from typing import Any

import numba
import pytest

from tests.wire.row import Row
from tests.wire.table import TABLE

CALLS = 10_000
NEVER = -123_456_789


def compiled_loop(row: Row, arguments: tuple[Any, ...]) -> Any:
    """A function that calls the kernel CALLS times with the same arguments."""
    names = ", ".join(f"a{index}" for index in range(len(arguments)))
    source = f"""
def loop({names}):
    total = 0
    for _ in range({CALLS}):
        total += kernel({names})
        if total == {NEVER}:
            a0[0] = 1  # without a store that might happen, a pure kernel would be called once and multiplied
    return total
"""
    scope: dict[str, Any] = {"kernel": row.kernel}
    exec(source, scope)
    return numba.njit(nogil=True)(scope["loop"])


@pytest.mark.parametrize("row", [row for row in TABLE if row.typical], ids=lambda row: row.name)
def test_time_of_a_call(benchmark: Any, row: Row) -> None:
    assert row.typical is not None
    arguments = row.typical()
    row.check(row.kernel, arguments)
    loop = compiled_loop(row, arguments)
    loop(*arguments)
    benchmark.extra_info["calls"] = CALLS
    benchmark.pedantic(loop, args=arguments, rounds=20, warmup_rounds=2)
    if benchmark.stats:
        benchmark.extra_info["ns_per_call"] = benchmark.stats["median"] / CALLS * 1e9
