"""Every wire kernel and all it calls as Python, in a process that compiles nothing.

Not collected by itself: `test_compiled_code` runs it under NUMBA_DISABLE_JIT=1.
"""

from __future__ import annotations

from random import Random

import numba
import pytest

from tests.wire.row import Row
from tests.wire.table import TABLE

ROUNDS = 60

assert numba.config.DISABLE_JIT, "with a compiler this would only repeat test_kernels_and_oracles.py"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.kernel.__name__)
def test_a_kernel_without_compiler_answers_as_its_oracle_says(row: Row) -> None:
    for seed in range(ROUNDS):
        row.check(row.kernel, row.arguments(Random(seed)))
