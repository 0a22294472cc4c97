"""Warming: runs made-up batches, so that the first real one of a size doesn't pay for memory and code.

Used by whoever loads a model beside traffic. Always: values that the model rightly refuses are no failure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from server.worker.models.examples import random_inputs
from server.worker.models.probe import SEED
from server.worker.models.served import ServedModel
from server.worker.status import StatusError

WARM_UP_S = 1.0
GROWTH = 4


def warm_batches(model: ServedModel) -> StatusError | None:
    """Batches of 1, 4, 16 ... rows, and of the largest, for WARM_UP_S at most; what one failed with.

    `fit` has been called.
    """
    deadline_s = time.monotonic() + WARM_UP_S
    for size in _sizes(model.max_batch_size):
        if time.monotonic() > deadline_s:
            break
        try:
            model.session.run(random_inputs(model.signature, size, size, np.random.default_rng(SEED)))
        except StatusError as failure:
            return failure
    return None


def _sizes(largest: int) -> Iterator[int]:
    size = 1
    while size < largest:
        yield size
        size *= GROWTH
    yield largest
