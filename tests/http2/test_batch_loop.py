"""The batch loop with real sessions, through Python callers: who shares a batch, when it runs, who pays for whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from native.batch.memory import BatchMemory
from native.lane.layout import LANE_AGE_LIMIT_NS
from native.plane import counters
from native.plane.evidence import EvidenceReader
from native.plane.layout import Plane
from native.plane.routes import Route, RouteTables, SeatRef
from server.settings import BatchingSettings, ModelSettings, Settings
from server.worker.engine import Engine
from server.worker.models.loading import load_model
from server.worker.models.served import ServedModel
from server.worker.status import Code, StatusError
from tests.behaviour.served_models import BUILDERS

SECOND_NS = 10**9
SLOTS = 64


class Batched:
    """A model behind a batch loop."""

    def __init__(self, engine: Engine, model: ServedModel) -> None:
        self.engine = engine
        self.model = model

    def count(self, name: str) -> int:
        return int(self.engine.memory.counters[getattr(counters, name)])

    async def look_up(self, *indices: int, within_s: float | None = None) -> np.ndarray:
        deadline_ns = None if within_s is None else time.monotonic_ns() + round(within_s * SECOND_NS)
        assert self.model.batcher is not None
        rows = {"index": np.array(indices, np.int64)}
        outputs, _seat = await self.model.batcher.submit(rows, len(indices), deadline_ns)
        return outputs["y"]

    def expect(self, rows: int, cost_ns: int) -> None:
        """As if a batch had cost so much."""
        self.engine.batches.costs(0).observe(rows, cost_ns)


@pytest.fixture(scope="module")
def lookup_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lookup") / "lookup.onnx"
    path.write_bytes(BUILDERS["lookup"]())
    return path


@asynccontextmanager
async def batched(path: Path, **batching: int) -> AsyncIterator[Batched]:
    """A batch loop over the model that looks rows of 2 up; afterwards nothing is held."""
    settings = Settings(
        batching=BatchingSettings(**({"max_batch_size": 8, "queue_rows_max": 24} | batching)),
        models=(ModelSettings(name="lookup", onnx=path),),
    )
    model = load_model(settings.models[0], settings)
    counts = np.zeros(counters.COUNTERS_LENGTH, np.int64)
    engine = Engine(
        [model], settings.batching, counts, lambda: None, lambda *parts: BatchMemory(*parts, slots_max=SLOTS)
    )
    yield Batched(engine, model)
    engine.close()
    await asyncio.sleep(0.01)
    assert engine.memory.slots_in_use == 0
    assert counts[counters.QUEUED_ROWS] == 0


async def test_callers_share_a_batch_and_get_their_own_rows(lookup_path: Path) -> None:
    async with batched(lookup_path) as model:
        answers = await asyncio.gather(*(model.look_up(index % 4) for index in range(8)))
        assert [answer.tolist() for answer in answers] == [[[2.0 * (i % 4), 2.0 * (i % 4) + 1]] for i in range(8)]
        assert model.count("BATCHES_INLINE") == 1
        assert model.count("ROWS") == 8


@pytest.mark.parametrize("inline_us", [0, 1_000_000])
async def test_a_poisoned_row_fails_only_its_own_request(lookup_path: Path, inline_us: int) -> None:
    async with batched(lookup_path, inline_cost_us_max=inline_us) as model:
        model.expect(8, 1000)
        calls = (model.look_up(0, 1), model.look_up(99), model.look_up(2), model.look_up(-77, 3))
        answers = await asyncio.gather(*calls, return_exceptions=True)
        good, bad = answers[0], answers[1]
        assert isinstance(good, np.ndarray)
        assert good.tolist() == [[0.0, 1.0], [2.0, 3.0]]
        assert isinstance(answers[2], np.ndarray)
        assert isinstance(bad, StatusError)
        assert bad.code is Code.INVALID_ARGUMENT
        assert isinstance(answers[3], StatusError)


async def test_cheap_batches_run_inline_and_dear_ones_in_the_thread(lookup_path: Path) -> None:
    async with batched(lookup_path, inline_cost_us_max=500) as model:
        model.expect(1, 400_000)
        await model.look_up(0)
        assert (model.count("BATCHES_INLINE"), model.count("BATCHES_THREADED")) == (1, 0)
        for _ in range(20):
            model.expect(1, 5_000_000)
        await model.look_up(0)
        assert (model.count("BATCHES_INLINE"), model.count("BATCHES_THREADED")) == (1, 1)


async def test_a_batch_waits_for_more_rows_only_as_long_as_it_is_told(lookup_path: Path) -> None:
    async with batched(lookup_path, max_queue_delay_us=60_000) as model:
        started = time.monotonic()
        first = asyncio.ensure_future(model.look_up(0))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, model.look_up(1))
        assert time.monotonic() - started >= 0.06
        assert model.count("BATCHES_INLINE") == 1, "both in one batch"


async def test_a_full_batch_waits_for_nothing(lookup_path: Path) -> None:
    async with batched(lookup_path, max_queue_delay_us=1_000_000) as model:
        started = time.monotonic()
        first = asyncio.ensure_future(model.look_up(0))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, *(model.look_up(1) for _ in range(7)))
        assert time.monotonic() - started < 0.9


async def test_rows_that_nobody_was_woken_for_run_with_the_next_look_at_the_routes(
    lookup_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where routes moved them to the other side between the batch loop's looks at the one and at the other."""
    async with batched(lookup_path) as model:
        with monkeypatch.context() as nobody_wakes:
            nobody_wakes.setattr(model.engine.batches.callers, "_wake", lambda: None)
            waiting = asyncio.ensure_future(model.look_up(0))
            await asyncio.sleep(0.01)
            assert not waiting.done()
        assert not model.engine.follow()
        assert (await asyncio.wait_for(waiting, 30)).tolist() == [[0.0, 1.0]]


async def test_a_deadline_that_passed_is_told(lookup_path: Path) -> None:
    async with batched(lookup_path) as model:
        with pytest.raises(StatusError) as refused:
            await model.look_up(0, within_s=-1)
        assert refused.value.code is Code.DEADLINE_EXCEEDED


async def test_one_slow_batch_does_not_refuse_calls_with_deadlines_for_ever(lookup_path: Path) -> None:
    async with batched(lookup_path) as model:
        model.expect(1, 30 * SECOND_NS)
        refused = 0
        while refused < 100:
            try:
                await model.look_up(0, within_s=1)
                break
            except StatusError:
                refused += 1
        assert 0 < refused < 20


async def test_a_caller_that_leaves_takes_its_rows_along(lookup_path: Path) -> None:
    async with batched(lookup_path, max_queue_delay_us=50_000) as model:
        leaves, stays = (asyncio.ensure_future(model.look_up(index)) for index in (0, 1))
        await asyncio.sleep(0)
        leaves.cancel()
        assert (await stays).tolist() == [[2.0, 3.0]]
        assert model.count("ROWS") == 1
        with pytest.raises(asyncio.CancelledError):
            await leaves


async def test_a_full_queue_refuses_and_then_takes_again(lookup_path: Path) -> None:
    async with batched(lookup_path) as model:
        answers = await asyncio.gather(*(model.look_up(*[1] * 8) for _ in range(4)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, StatusError)]
        assert [answer.code for answer in refused] == [Code.RESOURCE_EXHAUSTED]
        assert "batching.queue_rows_max" in refused[0].message
        assert model.count("REFUSAL_QUEUE_FULL") == 1
        assert (await model.look_up(2)).tolist() == [[4.0, 5.0]]


async def test_more_callers_than_slots_are_refused(lookup_path: Path) -> None:
    async with batched(lookup_path, max_batch_size=128, queue_rows_max=1000) as model:
        answers = await asyncio.gather(*(model.look_up(0) for _ in range(SLOTS + 3)), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, StatusError)]
        assert len(refused) == 3
        assert all("limits.slots_max" in answer.message for answer in refused)


async def test_a_python_callers_late_answer_is_told_as_late(lookup_path: Path) -> None:
    async with batched(lookup_path, max_queue_delay_us=40_000) as model:
        plane, memory = Plane.create(1), model.engine.memory
        memory.attach_routes(plane.routing, plane.block(0).routing, 1)
        RouteTables(plane).publish([Route(1, SeatRef(0, 1))])
        memory.set_ready(0, 1)
        memory.fill_words({LANE_AGE_LIMIT_NS: SECOND_NS // 100})
        await model.look_up(0)
        (cell,) = EvidenceReader(plane).read()
        assert (cell.answered, cell.failed) == (1, 1)
