"""Every wire kernel against its oracle, compiled and as Python, by the one table."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba.core.registry import CPUDispatcher

import native.wire
from tests.wire.row import Row
from tests.wire.table import TABLE

NAMES = [row.name for row in TABLE]
FORMS = {"compiled": lambda kernel: kernel, "as Python": lambda kernel: kernel.py_func}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", TABLE, ids=NAMES)
def test_a_kernel_answers_as_its_oracle_says(row: Row, form: str) -> None:
    call = FORMS[form](row.kernel)

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32))
    def agrees(seed: int) -> None:
        row.check(call, row.arguments(Random(seed)))

    agrees()


def test_every_kernel_has_its_row_in_the_table() -> None:
    kernels = set()
    for module in pkgutil.iter_modules(native.wire.__path__, "native.wire."):
        for name, thing in vars(importlib.import_module(module.name)).items():
            if isinstance(thing, CPUDispatcher) and not name.startswith("_"):
                kernels.add(f"{thing.py_func.__module__.rpartition('.')[2]}.{thing.py_func.__name__}")
    assert kernels == set(NAMES)
    assert len(NAMES) == len(set(NAMES)), "a kernel has two rows"


ROOT = Path(__file__).parents[2]
# Kernels beyond the wire act on a worker's whole memory, so that one call alone has no answer to compare: what holds
# them is a history of calls, beside a model in plain Python, or bytes in and bytes out beside a real peer.
HELD_ELSEWHERE = {
    "native.plane": "tests/plane",
    "native.lane": "tests/http2/test_slots.py",
    "native.batch": "tests/http2/test_slots.py",
    "native.route": "tests/route",
    "native.http2": "tests/http2/test_streams.py",
    "native.ort": "tests/ort",
    "native.drift": "tests/drift",
}


def test_every_room_of_kernels_is_held_by_the_table_or_by_tests_of_its_own() -> None:
    rooms = {f"native.{module.name}" for module in pkgutil.iter_modules(native.__path__) if module.ispkg}
    assert rooms == {"native.wire", *HELD_ELSEWHERE}
    for room, tests in HELD_ELSEWHERE.items():
        assert (ROOT / tests).exists(), room


def test_the_table_finds_a_planted_mistake() -> None:
    row = next(row for row in TABLE if row.name == "fields.small_varint")
    takes_too_much = lambda message, position, end: row.kernel(message, position, len(message))  # noqa: E731

    def check_all() -> None:
        for seed in range(1000):
            row.check(takes_too_much, row.arguments(Random(seed)))

    with pytest.raises(AssertionError, match="expected"):
        check_all()
