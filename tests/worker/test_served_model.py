"""A prediction's way through a served model: batched, in chunks, alone, too late."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from server.settings import ModelSettings, Settings
from server.worker.models.loading import load_model
from server.worker.models.served import ServedModel
from server.worker.routing import Routed
from server.worker.status import Code, StatusError
from tests.worker.onnx_graphs import centred, doubled, written

Arrays = dict[str, np.ndarray]


class BatchesOfOne:
    """Runs each submission at once, and remembers how many rows it had; fails those that hold `poison`."""

    def __init__(self, model: ServedModel, poison: float = np.inf) -> None:
        self._model = model
        self._poison = poison
        self.submitted: list[int] = []

    async def submit(
        self, inputs: Arrays, rows: int, deadline_ns: int | None, routed: Routed | None
    ) -> tuple[Arrays, int]:
        self.submitted.append(rows)
        await asyncio.sleep(0)
        if (inputs["x"] == self._poison).any():
            raise StatusError(Code.RESOURCE_EXHAUSTED, "queue full")
        return self._model.session.run(inputs), self._model.seat


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    return _load(tmp_path, doubled())


def _load(folder: Path, content: bytes) -> ServedModel:
    wanted = ModelSettings(name="model", onnx=written(folder, content))
    model = load_model(wanted, Settings(models=(wanted,)))
    model.max_batch_size = 4
    return model


def rows(count: int) -> Arrays:
    return {"x": np.arange(4 * count, dtype=np.float32).reshape(count, 4)}


@pytest.mark.parametrize(("count", "batches"), [(1, [1]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (11, [4, 4, 3]), (0, [])])
async def test_more_rows_than_a_batch_holds_are_put_together_again(
    model: ServedModel, count: int, batches: list[int]
) -> None:
    batcher = model.batcher = BatchesOfOne(model)
    outputs, _seat = await model.predict(rows(count), None)
    np.testing.assert_array_equal(outputs["y"], 2 * rows(count)["x"])
    assert batcher.submitted == batches


async def test_a_chunk_that_fails_fails_its_call_with_its_own_status(model: ServedModel) -> None:
    model.batcher = BatchesOfOne(model, poison=20.0)
    with pytest.raises(StatusError, match="RESOURCE_EXHAUSTED: queue full"):
        await model.predict(rows(8), None)


async def test_dependent_rows_never_meet_the_batcher(tmp_path: Path) -> None:
    model = _load(tmp_path, centred())
    batcher = model.batcher = BatchesOfOne(model)
    outputs, _seat = await model.predict(rows(9), None)
    np.testing.assert_allclose(outputs["y"], rows(9)["x"] - rows(9)["x"].mean(axis=0))
    assert batcher.submitted == []


async def test_a_call_whose_time_is_up_is_not_run(model: ServedModel) -> None:
    batcher = model.batcher = BatchesOfOne(model)
    with pytest.raises(StatusError, match="DEADLINE_EXCEEDED: grpc-timeout: "):
        await model.predict(rows(1), time.monotonic_ns() - 1)
    assert batcher.submitted == []
    assert (await model.predict(rows(1), time.monotonic_ns() + 10**9))[0]["y"].shape == (1, 4)
