"""Listeners: pages that are told when a look has closed windows, by server-sent events.

Used by `routes`; one for the process, which closes it when it stops. Always: at most `most` listen, and one more is
refused in words; a listener costs a look at a few figures twice a second and is told nothing twice; all of them end at
`close`, so that none holds up the end of the process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

LISTENERS_MAX: Final = 16
POLL_S: Final = 0.5
BEAT_S: Final = 15.0  # proxies end connections that say nothing for a minute
RETRY_MS: Final = 3000  # until a browser asks again where the server has gone
RETRY_AFTER_S: Final = 30
BEAT: Final = ": still here\n\n"


class Listeners:
    """most: how many at once. poll_s: between two looks at what is new. beat_s: between two signs of life."""

    def __init__(self, *, most: int = LISTENERS_MAX, poll_s: float = POLL_S, beat_s: float = BEAT_S) -> None:
        self.most = most
        self.count = 0
        self._poll_s = poll_s
        self._beats_every = max(round(beat_s / poll_s), 1)
        self._closed = asyncio.Event()

    def close(self) -> None:
        """Ends all of them within a turn of the loop, and refuses those that come."""
        self._closed.set()

    def stream(self, news: Callable[[], dict[str, Any]], headers: dict[str, str]) -> Response:
        """The answer to one that listens. news: what is known now; told at once, and when it has changed."""
        return _Stream(self, news, headers)

    @property
    def refusal(self) -> str | None:
        """Why nobody else may listen, and what to do; None while there is room."""
        if self._closed.is_set():
            return "The server stops. Ask again once it is back."
        if self.count >= self.most:
            return (
                f"listeners: expected at most {self.most} pages that listen at once, got another. Close one, or load "
                "the page anew to see what is new."
            )
        return None

    async def messages(self, news: Callable[[], dict[str, Any]]) -> AsyncIterator[str]:
        """As the wire has them, until `close`."""
        yield f"retry: {RETRY_MS}\n\n"
        told: dict[str, Any] | None = None
        silent = 0
        while not self._closed.is_set():
            now = news()
            silent += 1
            if now != told:
                told, silent = now, 0
                yield f"data: {json.dumps(now, separators=(',', ':'))}\n\n"
            elif silent >= self._beats_every:
                silent = 0
                yield BEAT
            await self._wait()

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._closed.wait(), self._poll_s)
        except TimeoutError:
            return


class _Stream(Response):
    """Takes its place when it begins to answer, and gives it back however that ends: at a client that went, too."""

    def __init__(self, listeners: Listeners, news: Callable[[], dict[str, Any]], headers: dict[str, str]) -> None:
        super().__init__(headers=headers, media_type="text/event-stream")
        self._listeners = listeners
        self._news = news
        self._always = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._listeners.refusal
        if refusal is not None:
            headers = {**self._always, "retry-after": f"{RETRY_AFTER_S}"}
            await PlainTextResponse(f"{refusal}\n", 503, headers)(scope, receive, send)
            return
        self._listeners.count += 1
        try:
            messages = self._listeners.messages(self._news)
            answer = StreamingResponse(messages, headers=self._always, media_type=self.media_type)
            await answer(scope, receive, send)
        finally:
            self._listeners.count -= 1
