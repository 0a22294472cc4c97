"""A worker's life: load the models, listen, publish counters, drain at SIGTERM.

Always: READY is set, and health turns to SERVING, only when every configured model is loaded and the listener accepts;
at SIGTERM health says NOT_SERVING before the listener lets go of its first connection.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from native.plane.layout import HEADER_CONNECTIONS, Plane, WorkerState
from server.processes import EXIT_OK, ModelPin, WorkerSpec
from server.settings import Settings
from server.version import VERSION
from server.worker.engine import Engine
from server.worker.listeners.listener import Listener, make_listener, make_memory
from server.worker.models.loading import load_model
from server.worker.models.table import ModelTable
from server.worker.publishing import Publisher
from server.worker.servicers.call import Serving
from server.worker.servicers.health_board import HealthBoard
from server.worker.servicers.methods import SERVICES

log = logging.getLogger("roost.worker")

Words = npt.NDArray[np.int64]

SERVER_NAME = "roost"
PUBLISH_INTERVAL_S = 0.25
EXIT_LISTENER_FAILED = 1


def load_table(settings: Settings, pins: Sequence[ModelPin]) -> ModelTable:
    """Every configured model, as pinned, one after the other. Raises ModelRefused."""
    models, pinned = [], {pin.name: pin for pin in pins}
    for wanted in settings.models:
        model = load_model(wanted, settings, pinned[wanted.name] if pins else None)
        batching = "on" if model.batchable else f"off: {model.batching_note}"
        fields = {"model": model.name, "version": model.version, "digest": model.digest_prefix, "batching": batching}
        log.info("loaded", extra={"fields": fields})
        for note in model.notes:
            log.info("%s: %s", model.name, note)
        models.append(model)
    return ModelTable(models)


def connections_elsewhere(plane: Plane, index: int) -> int | None:
    """The fewest connections that another ready worker has; None where there is no other."""
    others = [plane.block(other) for other in range(plane.workers) if other != index]
    counts = [int(block.header[HEADER_CONNECTIONS]) for block in others if block.state == WorkerState.READY]
    return min(counts, default=None)


async def serve(spec: WorkerSpec, table: ModelTable, publisher: Publisher, plane: Plane) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    health = HealthBoard(SERVICES)
    limits = spec.settings.limits
    serving = Serving(table, health, SERVER_NAME, VERSION, limits.message_bytes_max)
    engine = Engine(
        list(table), spec.settings.batching, publisher.counts, publisher.publish, functools.partial(make_memory, spec)
    )
    listener = make_listener(
        spec, serving, engine, publisher.counts, functools.partial(connections_elsewhere, plane, spec.index)
    )
    publishing = loop.create_task(_publish_regularly(publisher))
    try:
        await listener.start()
        health.serve()
        publisher.enter(WorkerState.READY)
        stopping = loop.create_task(stop.wait())
        ends: list[asyncio.Future[Any]] = [stopping, listener.failure]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if listener.failure.done():
            log.error("the port cannot be served any more", exc_info=listener.failure.exception())
            return EXIT_LISTENER_FAILED
        await _drain(listener, health, publisher, spec.settings.server.drain_timeout_s)
        return EXIT_OK
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            # The end has begun: a second signal must not turn its exit code into that of a kill.
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        publishing.cancel()
        engine.close()
        publisher.publish()


async def _drain(listener: Listener, health: HealthBoard, publisher: Publisher, grace_s: float) -> None:
    health.drain()
    publisher.enter(WorkerState.DRAINING)
    # Watchers get NOT_SERVING in a turn of the loop of its own, before any connection is told to go.
    await asyncio.sleep(0)
    listener.begin_drain()
    await listener.drain(grace_s)


async def _publish_regularly(publisher: Publisher) -> None:
    while True:
        publisher.publish()
        await asyncio.sleep(PUBLISH_INTERVAL_S)


def run(spec: WorkerSpec) -> int:
    """The whole life; returns the exit code. Raises ModelRefused before anything listens."""
    import uvloop

    plane = Plane.attach(spec.plane_fd)
    publisher = Publisher(plane.block(spec.index), os.getpid(), spec.generation)
    table = load_table(spec.settings, spec.pins)
    return uvloop.run(serve(spec, table, publisher, plane))
