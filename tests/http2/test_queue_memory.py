"""What waits for a batch is bounded in bytes, not in rows alone: a row of images is as wide as 10,000 others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from native.batch.memory import BatchMemory
from native.plane.counters import COUNTERS_LENGTH
from server.settings import BatchingSettings, ModelSettings, Settings
from server.worker.engine import Engine
from server.worker.models.loading import load_model

MIB = 1 << 20
IMAGE = [3, 224, 224]
ROW_BYTES = 2 * 4 * 3 * 224 * 224  # in and out


def image_model(path: Path) -> Path:
    """y = -x over images."""
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "images",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", *IMAGE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", *IMAGE])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("bound_mib", [64, 512])
async def test_wide_rows_make_batches_that_fit_the_bound(tmp_path: Path, bound_mib: int) -> None:
    rows = bound_mib * MIB // (3 * ROW_BYTES)
    memory, model = engine_of(image_model(tmp_path / "images.onnx"), bound_mib)
    assert model.batcher is not None
    assert model.max_batch_size == rows
    held = memory.arenas["input_bytes"].sum() + memory.arenas["output_bytes"].sum()
    assert 0 < held <= bound_mib * MIB
    assert memory.queues[0]["waiting_rows_max"] <= memory.arenas.size * rows


async def test_rows_wider_than_the_bound_are_not_batched_and_the_reason_is_told(tmp_path: Path) -> None:
    memory, model = engine_of(image_model(tmp_path / "images.onnx"), 1)
    assert model.batcher is None
    assert "batching.queue_bytes_max" in model.batching_note
    assert memory.arenas.size == 0
    image = np.ones((2, *IMAGE), np.float32)
    np.testing.assert_array_equal((await model.predict({"x": image}, None))[0]["y"], -image)


def engine_of(path: Path, bound_mib: int):  # type: ignore[no-untyped-def]
    settings = Settings(
        batching=BatchingSettings(queue_bytes_max=bound_mib * MIB), models=(ModelSettings(name="images", onnx=path),)
    )
    model = load_model(settings.models[0], settings)
    counts = np.zeros(COUNTERS_LENGTH, np.int64)
    engine = Engine([model], settings.batching, counts, lambda: None, lambda *parts: BatchMemory(*parts, slots_max=16))
    return engine.memory, model
