"""The judge of the peers is judged: planted faults must be found."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def judge() -> ModuleType:
    """The module that the peers import as scripts; loaded by its file, since their folder is no package."""
    file = Path(__file__).with_name("concurrent_calls.py")
    spec = importlib.util.spec_from_file_location("concurrent_calls", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["concurrent_calls"] = module
    spec.loader.exec_module(module)
    return module


CALLS = 64


@pytest.fixture(scope="module")
def expected(judge: ModuleType, mlp_file: Path) -> list:
    return judge.expected_calls(str(mlp_file), CALLS, np.random.default_rng(7))


def _summary(judge: ModuleType, expected: list, change) -> object:
    """Runs all calls through a caller that knows the right answers and hands them through `change(index, scores)`."""
    index_of = {call.rows.tobytes(): index for index, call in enumerate(expected)}

    async def call(rows: np.ndarray) -> Mapping[str, np.ndarray]:
        index = index_of[rows.tobytes()]
        await asyncio.sleep(0)
        return change(index, expected[index].scores)

    return asyncio.run(judge.run_callers([call], expected, 8, seed=3))


def test_right_answers_are_counted_as_answered(judge, expected):
    summary = _summary(judge, expected, lambda index, scores: {"scores": scores})
    assert (summary.calls, summary.answered + summary.cancelled) == (CALLS, CALLS)
    assert (summary.wrong, summary.failed) == (0, 0)


def test_somebody_elses_answer_is_found_and_called_swapped(judge, expected):
    def neighbours(index: int, scores: np.ndarray):
        return {"scores": expected[(index + 1) % CALLS].scores}

    summary = _summary(judge, expected, neighbours)
    assert summary.wrong == summary.answered > 0
    assert summary.swapped == summary.wrong


@pytest.mark.parametrize(
    "change",
    [
        lambda index, scores: {"scores": scores * np.float32(1.001)},
        lambda index, scores: {"scores": scores.astype(np.float64)},
        lambda index, scores: {"scores": scores[:, :1]},
        lambda index, scores: {"scores": scores[None]},
        lambda index, scores: {"score": scores},
        lambda index, scores: {},
    ],
    ids=["value", "dtype", "width", "rank", "name", "nothing"],
)
def test_a_wrong_answer_is_found_by(judge, expected, change):
    summary = _summary(judge, expected, change)
    assert summary.wrong == summary.answered > 0


def test_an_error_counts_as_failed_and_keeps_its_message(judge, expected):
    def fail(index: int, scores: np.ndarray):
        raise RuntimeError("broken wire")

    summary = _summary(judge, expected, fail)
    assert summary.failed + summary.cancelled == CALLS
    assert summary.failed > 0
    assert summary.messages[0] == "RuntimeError: broken wire"


def test_every_expected_answer_identifies_its_call(judge, expected):
    for index, call in enumerate(expected):
        twins = [other for other in expected if other.difference({"scores": call.scores}) is None]
        assert len(twins) == 1, index
