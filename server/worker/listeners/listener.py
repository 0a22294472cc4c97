"""What a listener is to the worker's process, and which one it gets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from native.batch.memory import BatchMemory, QueueBounds
from native.wire.directory import ModelDirectory
from server.processes import WorkerSpec
from server.worker.engine import Engine
from server.worker.servicers.call import Serving
from server.worker.servicers.methods import METHODS

Words = npt.NDArray[np.int64]


class Listener(Protocol):
    """Accepts calls and answers them from the servicers.

    `failure` is done, with an exception, once the port cannot be served any more: the worker then ends, and its parent
    starts another.
    """

    failure: asyncio.Future[None]

    async def start(self) -> None: ...

    def begin_drain(self) -> None:
        """Tells clients to go elsewhere; calls in flight go on."""

    async def drain(self, grace_s: float) -> None:
        """Returns once every call in flight was answered, or was cut off after `grace_s`."""


def modules_of(listener: str) -> tuple[str, ...]:
    """What is imported for this listener, and for no other: that may lack its library."""
    room = "server.worker.listeners"
    fast = (f"{room}.fast_lane", f"{room}.lane_limits", "native.http2.lane")
    return (f"{room}.grpcio",) if listener == "grpcio" else fast


def make_memory(
    spec: WorkerSpec, directory: ModelDirectory, queues: Sequence[QueueBounds], counts: Words
) -> BatchMemory:
    """What the chosen listener needs for its calls and their batches."""
    limits = spec.settings.limits
    if spec.listener == "grpcio":
        return BatchMemory(directory, queues, counts, slots_max=limits.slots_max)
    from native.http2.lane import Lane
    from server.worker.listeners.lane_limits import lane_limits

    return Lane(directory, queues, tuple(METHODS), counts, lane_limits(limits))


def make_listener(
    spec: WorkerSpec, serving: Serving, engine: Engine, counts: Words, connections_elsewhere: Callable[[], int | None]
) -> Listener:
    """The one that the parent chose. Imports only that one: the other may lack its library."""
    if spec.listener == "grpcio":
        from server.worker.listeners.grpcio import GrpcioListener

        return GrpcioListener(serving, spec.settings.limits, counts, spec.listen_host, spec.listen_port)
    from native.http2.lane import Lane
    from server.worker.listeners.fast_lane import FastLaneListener

    assert isinstance(engine.memory, Lane)
    assert spec.listen_fd is not None
    listening = socket.socket(fileno=spec.listen_fd)
    return FastLaneListener(serving, engine.memory, engine.batches, listening, connections_elsewhere)
