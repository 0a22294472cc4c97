"""The HTTP application: metrics, health, the drift page, and a page of links.

Served by uvicorn on the socket that the parent listens on. Always: reads the plane only; a worker never waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from server.control.driver import Driver
from server.control.lifecycle_metrics import LifecycleCollector
from server.control.metrics import PlaneCollector
from server.control.plane_reader import PlaneReader, WorkerView

PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Roost</title>
<meta name="viewport" content="width=device-width">
<body style="font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem">
<h1>Roost</h1>
<p>Predictions are served over gRPC on {listen}.</p>
<ul>
<li><a href="/health/ready">/health/ready</a>: does it serve, and what is each worker doing?</li>
<li><a href="/health/live">/health/live</a>: does this process answer?</li>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>{drift}
</ul>
"""
DRIFT: Final = '\n<li><a href="/drift">/drift</a>: do models still see what they learnt from?</li>'


def application(
    reader: PlaneReader, driver: Driver, listen: str, *more: Collector, drift_page: Sequence[BaseRoute] = ()
) -> Starlette:
    """listen: the address of the predictions, to be shown. driver: started already. more: what else /metrics shows.

    drift_page: its addresses; none where drift is not watched.
    """
    registry = CollectorRegistry(auto_describe=False)
    for collector in (PlaneCollector(reader), LifecycleCollector(driver), *more):
        registry.register(collector)

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    async def live(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(request: Request) -> Response:
        readiness, reasons = reader.readiness(time.monotonic_ns()), list(driver.not_serving())
        if not readiness.ready:
            reasons.insert(0, readiness.reason)
        is_ready = not reasons
        body = {
            "ready": is_ready,
            "reasons": reasons,
            "alerts": [f"{key}: {text}" for key, text in driver.alerts.items()],
            "workers": [_shown(worker) for worker in readiness.workers],
        }
        return JSONResponse(body, status_code=200 if is_ready else 503, headers={"cache-control": "no-store"})

    async def page(request: Request) -> Response:
        return HTMLResponse(PAGE.format(listen=listen, drift=DRIFT if drift_page else ""))

    return Starlette(
        routes=[
            Route("/", page),
            Route("/metrics", metrics),
            Route("/health/live", live),
            Route("/health/ready", ready),
            *drift_page,
        ]
    )


def _shown(worker: WorkerView) -> dict[str, Any]:
    age_ns = worker.heartbeat_age_ns
    return {
        "worker": worker.index,
        "state": worker.state.name.lower(),
        "stuck": worker.is_stuck,
        "pid": worker.pid,
        "generation": worker.generation,
        "restarts": worker.restarts,
        "connections": worker.connections,
        "heartbeat_age_ms": None if age_ns is None else age_ns // 1_000_000,
    }
