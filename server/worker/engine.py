"""A worker's engine: runner, batch memory and batch loop, put together for the models that it serves.

Used once, by the worker's process, before the listener starts. Always: a model whose rows kernels can carry has a
queue, whichever listener brings its calls; every other model goes to the runner call by call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from native.batch.memory import BatchMemory, QueueBounds
from native.wire.directory import ModelDirectory, WireModel, WireTensor
from registry_client.tensors import TensorSpec
from server.settings import BatchingSettings
from server.worker.batcher import Batcher, BatchLoop
from server.worker.models.served import ServedModel
from server.worker.runner import Runner

Words = npt.NDArray[np.int64]
MakeMemory = Callable[[ModelDirectory, Sequence[QueueBounds], Words], BatchMemory]

# One batch runs, one waits for it, one gathers; beyond that the bound is in rows.
ARENAS_MIN = 3
ARENAS_MAX = 256


class Engine:
    """Runs predictions. Made on the loop's thread; gives every model its runner and, where it batches, its batcher."""

    def __init__(
        self,
        models: Sequence[ServedModel],
        settings: BatchingSettings,
        counts: Words,
        publish: Callable[[], None],
        make_memory: MakeMemory,
    ) -> None:
        self.runner = Runner()
        for model in models:
            _fit(model, settings)
        directory = ModelDirectory([_wire_model(model) for model in models])
        bounds = [_queue_bounds(model, settings) for model in models]
        self.memory = make_memory(directory, bounds, counts)
        self.batches = BatchLoop(self.memory, models, self.runner, settings, publish)
        for index, model in enumerate(models):
            model.runner = self.runner
            if directory.kernel_ok(index):
                model.batcher = Batcher(self.batches, index)

    def close(self) -> None:
        """Ends what runs and the runner's thread."""
        self.batches.close()
        self.runner.close()


def _row_bytes(model: ServedModel) -> int:
    """Bytes of a row, in and out."""
    return sum(spec.row_bytes for spec in (*model.signature.inputs, *model.signature.outputs))


def _fit(model: ServedModel, settings: BatchingSettings) -> None:
    """Wide rows make smaller batches, and rows too wide for any make none: what waits is bounded in bytes, too."""
    if not model.batchable:
        return
    fits = settings.queue_bytes_max // (ARENAS_MIN * max(_row_bytes(model), 1))
    if fits < 1:
        model.batchable = False
        model.batching_note = f"three rows of {_row_bytes(model)} bytes are more than batching.queue_bytes_max"
    model.max_batch_size = max(1, min(model.max_batch_size, fits))


def _queue_bounds(model: ServedModel, settings: BatchingSettings) -> QueueBounds:
    """As many arenas as the bounds on rows and on bytes leave room for."""
    arenas = -(-settings.queue_rows_max // model.max_batch_size)
    if model.batchable:
        arenas = min(arenas, settings.queue_bytes_max // max(_row_bytes(model) * model.max_batch_size, 1))
    arenas = min(max(arenas, ARENAS_MIN), ARENAS_MAX)
    return QueueBounds(arenas, min(settings.queue_rows_max, arenas * model.max_batch_size))


def _wire_model(model: ServedModel) -> WireModel:
    return WireModel(
        name=model.name,
        version=model.version,
        digest_prefix=model.digest_prefix,
        variant=model.variant,
        inputs=tuple(map(_wire_tensor, model.signature.inputs)),
        outputs=tuple(map(_wire_tensor, model.signature.outputs)),
        max_rows=model.max_batch_size,
        batchable=model.batchable,
    )


def _wire_tensor(spec: TensorSpec) -> WireTensor:
    return WireTensor(spec.name, spec.datatype.code, spec.shape)
