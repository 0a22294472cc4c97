"""Addresses of the drift page: its files, what it is told as JSON, and its stream of news.

Mounted by the HTTP application. Always: reads what control has in memory and changes nothing; each answer takes bounded
work on the loop; by its headers the page runs no script but its own files, and reaches no machine but this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from server.control.drift.watching import DriftWatch
from server.control.drift_page.documents import (
    Document,
    Known,
    feature_document,
    heat_map_document,
    models_document,
    news_document,
)
from server.control.drift_page.listeners import Listeners
from server.control.drift_page.questions import (
    OF_FEATURE,
    OF_HEAT_MAP,
    OF_NEWS,
    SIGNALS,
    BadQuestion,
    Question,
    read_question,
)
from server.control.driver import Driver

FOLDER: Final = Path(__file__).parent
PAGE: Final = "/drift"
SECURITY: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
FILES: Final = {
    PAGE: ("drift.html", "text/html"),
    f"{PAGE}/drift.js": ("drift.js", "text/javascript"),
    f"{PAGE}/heat_map.js": ("heat_map.js", "text/javascript"),
    f"{PAGE}/feature.js": ("feature.js", "text/javascript"),
    f"{PAGE}/words.js": ("words.js", "text/javascript"),
    f"{PAGE}/drift.css": ("drift.css", "text/css"),
}
FRESH: Final = {**SECURITY, "cache-control": "no-store"}


def routes(drift: DriftWatch, driver: Driver, listeners: Listeners) -> list[BaseRoute]:
    """drift, driver: started already. listeners: whoever calls this closes them when the process stops."""
    settings = driver.settings.drift
    off = frozenset(signal for signal in SIGNALS if getattr(settings, signal) == "off")

    def known(name: str) -> Known:
        stable = driver.state(name).stable
        version = "" if stable is None else stable.version
        return Known(name, version, drift.models[name], drift.book, driver.alerts, off, settings.rows_min)

    def answered(make: Callable[[Known, Question], Document], allowed: Collection[str]) -> Callable[..., Any]:
        async def answer(request: Request) -> Response:
            try:
                question = read_question(request.query_params.multi_items(), drift.models, allowed)
                return JSONResponse(make(known(question.model), question), headers=FRESH)
            except BadQuestion as bad:
                return _refused(bad)

        return answer

    async def models(request: Request) -> Response:
        try:
            if request.query_params:
                raise BadQuestion("query", expected="no parameters", got=repr(request.url.query[:80]))
            return JSONResponse(models_document(drift.models), headers=FRESH)
        except BadQuestion as bad:
            return _refused(bad)

    async def events(request: Request) -> Response:
        try:
            name = read_question(request.query_params.multi_items(), drift.models, OF_NEWS).model
        except BadQuestion as bad:
            return _refused(bad)
        if request.method == "HEAD":
            return Response(headers=FRESH, media_type="text/event-stream")
        return listeners.stream(lambda: news_document(known(name)), FRESH)

    return [
        *(Route(path, _file(name, media_type)) for path, (name, media_type) in FILES.items()),
        Route(f"{PAGE}/models", models),
        Route(f"{PAGE}/heat-map", answered(heat_map_document, OF_HEAT_MAP)),
        Route(f"{PAGE}/feature", answered(feature_document, OF_FEATURE)),
        Route(f"{PAGE}/events", events),
    ]


def _refused(bad: BadQuestion) -> Response:
    return JSONResponse({"error": str(bad), "parameter": bad.parameter}, 400, FRESH)


def _file(name: str, media_type: str) -> Callable[..., Any]:
    """Read once; a browser keeps it, and asks each time whether it is still the same."""
    body = (FOLDER / name).read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**SECURITY, "cache-control": "no-cache", "etag": etag}

    async def answer(request: Request) -> Response:
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=media_type)

    return answer
