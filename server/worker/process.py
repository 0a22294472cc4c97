"""A worker's life: load the models, listen, publish counters, drain at SIGTERM.

Always: READY is set, and health turns to SERVING, only when every configured model is loaded and the listener accepts;
at SIGTERM health says NOT_SERVING before the listener lets go of its first connection.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from native.plane.layout import HEADER_CONNECTIONS, Plane, WorkerState
from server.processes import EXIT_HUNG, EXIT_OK, WorkerSpec
from server.scheduling import URGENT_SLICE_NS, schedule_thread
from server.stop_signals import StopSignals
from server.version import VERSION
from server.worker.engine import Engine
from server.worker.listeners.listener import Listener, make_listener, make_memory
from server.worker.models.table import ModelTable
from server.worker.publishing import Publisher
from server.worker.recording import begin_recording
from server.worker.seats import Seats, is_loading
from server.worker.servicers.call import Serving
from server.worker.servicers.health_board import HealthBoard
from server.worker.servicers.methods import SERVICES

log = logging.getLogger("roost.worker")

Words = npt.NDArray[np.int64]

SERVER_NAME = "roost"
PUBLISH_INTERVAL_S = 0.25
EXIT_LISTENER_FAILED = 1
# Threads that load, and canaries' runs, hand the interpreter back to the loop after this long at most.
SWITCH_INTERVAL_S = 0.0005
HUNG_DRAIN_S = 1.0


def connections_elsewhere(plane: Plane, index: int) -> int | None:
    """The fewest connections that another ready worker has; None where there is no other."""
    others = [plane.block(other) for other in range(plane.workers) if other != index]
    counts = [int(block.header[HEADER_CONNECTIONS]) for block in others if block.state == WorkerState.READY]
    return min(counts, default=None)


async def serve(spec: WorkerSpec, publisher: Publisher, plane: Plane) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code. Raises ModelRefused before anything listens."""
    loop = asyncio.get_running_loop()
    signals = StopSignals()
    health = HealthBoard(SERVICES)
    settings = spec.settings
    table = ModelTable(names=[model.name for model in settings.models])
    serving = Serving(table, health, SERVER_NAME, VERSION, settings.limits.message_bytes_max)
    make = functools.partial(make_memory, spec)
    engine = Engine([], settings.batching, publisher.counts, publisher.publish, make, settings.trial)
    block = plane.block(spec.index)
    seed = spec.index << 32 | spec.generation
    regions = plane.drift, plane.drift_beside
    drift = [functools.partial(region, spec.index) for region in regions] if settings.drift.count else [None, None]
    engine.attach(table, plane.routing, block.routing, seed, settings.judgement.age_limit_ms, *drift)
    recorder = begin_recording(settings.record, engine.memory, publisher.counts, spec.index, seed)
    engine.batches.recorder = recorder
    seats = Seats(settings, plane, spec.index, engine, table, restarted=spec.generation > 1)
    elsewhere = functools.partial(connections_elsewhere, plane, spec.index)
    publishing = loop.create_task(_publish_regularly(publisher))
    try:
        await seats.load_first()
        listener = make_listener(spec, serving, engine, publisher.counts, elsewhere)
        await listener.start()
        seats.start()
        # Only now: what a start computes is in nobody's way.
        schedule_thread(URGENT_SLICE_NS)
        health.serve()
        publisher.enter(WorkerState.READY)
        stopping = loop.create_task(signals.asked.wait())
        ends: list[asyncio.Future[Any]] = [stopping, listener.failure, engine.batches.watchdog.hung]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if listener.failure.done():
            log.error("the port cannot be served any more", exc_info=listener.failure.exception())
            return EXIT_LISTENER_FAILED
        if engine.batches.watchdog.hung.done():
            await _drain(listener, health, publisher, HUNG_DRAIN_S)
            publisher.publish()
            # The thread in which the run hangs can't be waited for.
            os._exit(EXIT_HUNG)
        await _drain(listener, health, publisher, settings.server.drain_timeout_s)
        return EXIT_OK
    finally:
        signals.ignore()
        publishing.cancel()
        engine.close()
        if recorder is not None:
            recorder.close()
        publisher.publish()
        seats.close()


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

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    plane = Plane.attach(spec.plane_fd)
    publisher = Publisher(plane.block(spec.index), os.getpid(), spec.generation)
    code = uvloop.run(serve(spec, publisher, plane))
    if is_loading():
        # Nobody waits for what is being loaded, least of all a parent that counts the seconds of the drain.
        sys.stderr.flush()
        os._exit(code)
    return code
