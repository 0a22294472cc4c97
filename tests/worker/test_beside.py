"""Which canary is counted by its stable's bins, as routes and models change."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from native.drift.layout import PROGRAM_EVERY
from native.drift.program import FEATURES_OF_EVERY_ROW, rows_between
from native.lane.layout import LANE_EPOCH
from native.plane.drift import DRIFT_GENERATION
from native.plane.layout import DRIFT_SEAT_WORDS
from native.plane.routing import NO_SEAT
from native.route.layout import ROUTE
from registry_client.baseline.document import Baseline, Feature, Kind
from registry_client.tensors import Datatype, Signature, TensorSpec
from server.worker.beside import CountedBeside
from server.worker.counting import RowCounter
from server.worker.runner import Runner

WIDTH = 4
SIGNATURE = Signature((TensorSpec("x", Datatype.FP32, (-1, WIDTH)),), (TensorSpec("y", Datatype.FP32, (-1, WIDTH)),))
INPUT = Feature("x0", "x", 0, Kind.NUMBER, (0.0, 1.0), (10,) * 5)
PREDICTION = replace(INPUT, name="y0", tensor="y")
BASELINE = Baseline(50, 0.0, (INPUT,), (PREDICTION,))
STABLE, FIRST, SECOND = 0, 1, 2


class Beside:
    """A worker's counting, with routes that are set by hand. All seats are one model's."""

    def __init__(self, *runners: Runner) -> None:
        self.regions = np.zeros((1, DRIFT_SEAT_WORDS), dtype=np.int64)
        self.memory = SimpleNamespace(
            words=np.zeros(LANE_EPOCH + 1, dtype=np.int64),
            routes=np.zeros(1, dtype=ROUTE),
            directory=SimpleNamespace(route_of=lambda _seat: 0),
        )
        self.route(NO_SEAT)
        self.runners = runners
        self.counted = CountedBeside(self.memory, lambda model: self.regions[model], 1, runners)  # type: ignore[arg-type]

    def put(self, seat: int, generation: int = 1, baseline: Baseline = BASELINE) -> Any:
        region = np.zeros(DRIFT_SEAT_WORDS, dtype=np.int64)
        counter = RowCounter(BASELINE, SIGNATURE, region, generation, 8, 1)
        model = SimpleNamespace(baseline=baseline, counter=counter, signature=SIGNATURE, max_batch_size=8)
        self.counted.put(seat, generation, model)  # type: ignore[arg-type]
        return model

    def route(self, canary: int, stable: int = STABLE) -> None:
        self.memory.routes[0]["stable"], self.memory.routes[0]["canary"] = stable, canary
        self.memory.words[LANE_EPOCH] += 1


@pytest.fixture
async def idle() -> Any:
    runner = Runner("test")
    yield runner
    runner.close()


async def looks(beside: Beside) -> None:
    """One that begins what is to do, and one once the threads have ended what they were doing."""
    beside.counted.follow()
    for runner in beside.runners:
        await runner.run(lambda: None)
    beside.counted.follow()


async def test_only_the_canary_that_there_is_is_counted(idle: Runner) -> None:
    beside = Beside(idle)
    stable, first, second = beside.put(STABLE), beside.put(FIRST), beside.put(SECOND)
    await looks(beside)
    for canary, counted in ((FIRST, [first]), (SECOND, [second]), (NO_SEAT, []), (FIRST, [first])):
        beside.route(canary)
        await looks(beside)
        assert [model for model in (stable, first, second) if model.counter.beside is not None] == counted


async def test_a_canary_that_is_promoted_is_counted_no_more_and_the_next_one_is(idle: Runner) -> None:
    beside = Beside(idle)
    _, first, second = beside.put(STABLE), beside.put(FIRST), beside.put(SECOND)
    beside.route(FIRST)
    await looks(beside)
    beside.route(SECOND, stable=FIRST)
    await looks(beside)
    assert first.counter.beside is None
    assert second.counter.beside is not None


async def test_another_artifact_in_the_canarys_seat_is_counted_anew(idle: Runner) -> None:
    beside = Beside(idle)
    beside.put(STABLE)
    beside.put(FIRST, 1)
    beside.route(FIRST)
    await looks(beside)
    assert beside.regions[0][DRIFT_GENERATION] == 1
    beside.counted.take_out(FIRST)
    beside.route(NO_SEAT)
    beside.counted.follow()
    again = beside.put(FIRST, 2)
    beside.route(FIRST)
    await looks(beside)
    assert again.counter.beside is not None
    assert beside.regions[0][DRIFT_GENERATION] == 2


async def test_what_was_counted_is_cleared_only_once_no_thread_can_be_at_it(idle: Runner) -> None:
    beside = Beside(idle)
    beside.put(STABLE)
    first, second = beside.put(FIRST), beside.put(SECOND, 7)
    beside.route(FIRST)
    await looks(beside)
    going_on = threading.Event()
    counting = idle.start(lambda: going_on.wait(10))  # as a run of the first that has taken its counter
    beside.route(SECOND)
    for _ in range(3):
        beside.counted.follow()
        await asyncio.sleep(0.02)
    assert first.counter.beside is None
    assert second.counter.beside is None
    assert beside.regions[0][DRIFT_GENERATION] == 1
    going_on.set()
    await counting
    await looks(beside)
    assert second.counter.beside is not None
    assert beside.regions[0][DRIFT_GENERATION] == 7


async def test_both_arms_are_counted_as_often_however_wide_the_stable_is(idle: Runner) -> None:
    beside = Beside(idle)
    wide = replace(BASELINE, inputs=(INPUT,) * 2 * FEATURES_OF_EVERY_ROW)
    beside.put(STABLE, baseline=wide)
    first = beside.put(FIRST)
    beside.route(FIRST)
    await looks(beside)
    every = int(first.counter.beside._program.words[PROGRAM_EVERY])
    assert every == rows_between(len(wide.inputs) + 1) > 1


@pytest.mark.parametrize("lacking", ["predictions", "baseline"])
async def test_a_stable_without_predictions_is_nothing_to_compare_with(lacking: str, idle: Runner) -> None:
    beside = Beside(idle)
    stable, first = beside.put(STABLE), beside.put(FIRST)
    stable.baseline = None if lacking == "baseline" else replace(BASELINE, predictions=())
    beside.route(FIRST)
    await looks(beside)
    assert first.counter.beside is None
