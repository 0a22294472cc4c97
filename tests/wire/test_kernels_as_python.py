"""Every wire kernel and all it calls as Python, where the process was told to compile nothing."""

from __future__ import annotations

from random import Random

import numba
import pytest

from tests.wire.table import TABLE, Row

ROUNDS = 60


@pytest.mark.skipif(
    not numba.config.DISABLE_JIT, reason="run by test_compiled_code.py in a process that compiles nothing"
)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.kernel.__name__)
def test_a_kernel_without_compiler_answers_as_its_oracle_says(row: Row) -> None:
    for seed in range(ROUNDS):
        row.check(row.kernel, row.arguments(Random(seed)))
