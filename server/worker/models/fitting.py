"""How many rows of a model fit into a batch: wide rows make smaller batches, and rows too wide for any make none.

Used before a model is warmed and before it gets a queue. Always: what waits of one model is bounded in bytes, too.
"""

from __future__ import annotations

from typing import Final

from server.settings import BatchingSettings
from server.worker.models.served import ServedModel

# One batch runs, one waits for it, one gathers; beyond that the bound is in rows.
ARENAS_MIN: Final = 3


def row_bytes(model: ServedModel) -> int:
    """Bytes of a row, in and out. Of a model that batches."""
    return sum(spec.row_bytes for spec in (*model.signature.inputs, *model.signature.outputs))


def fit(model: ServedModel, settings: BatchingSettings) -> None:
    """Sets the model's largest batch, or turns its batching off and says why. A second time nothing changes."""
    if not model.batchable:
        return
    fits = settings.queue_bytes_max // (ARENAS_MIN * max(row_bytes(model), 1))
    if fits < 1:
        model.batchable = False
        model.batching_note = f"three rows of {row_bytes(model)} bytes are more than batching.queue_bytes_max"
    model.max_batch_size = max(1, min(model.max_batch_size, fits))
