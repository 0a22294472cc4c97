"""Real HTTP receivers on loopback, and a webhook's room to send to them, for the tests of this folder."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from server.control.webhooks.clock import Clock
from server.control.webhooks.receiver import WebhookView
from server.control.webhooks.webhooks import Webhooks
from server.settings import WebhookSettings

SECRET = "a secret of enough bytes"
ENVIRONMENT = {"HOOK_SECRET": SECRET}
WAIT_S = 30.0


@dataclass(frozen=True)
class Received:
    """headers: with names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class HttpReceiver:
    """answer: what the next request gets."""

    answer: Callable[[Received], Reply] = lambda _: Reply()
    received: list[Received] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hooks/token-in-the-path?x=1"

    @property
    def ids(self) -> list[str]:
        return [one.headers["webhook-id"] for one in self.received]


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@contextlib.contextmanager
def receiving(tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[HttpReceiver]:
    """A server in a thread of this process."""
    receiver = HttpReceiver(scheme="http" if tls is None else "https")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            one = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            receiver.received.append(one)
            reply = receiver.answer(one)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.asynccontextmanager
async def raw_server(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """A server that speaks what the test makes it speak; its URL."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


class PlayedClock(Clock):
    """Nobody rests: where all have something to wait for, the time jumps to the end of it.

    holds: as long as it is set, time stands still, and who rests waits to be woken.
    """

    def __init__(self) -> None:
        self.at_s = 1000.0
        self.wall_s = 1_800_000_000.0
        self.rests: list[float] = []
        self.holds = False

    def now_s(self) -> float:
        return self.at_s

    def utc_s(self) -> float:
        return self.wall_s

    def advance(self, seconds: float) -> None:
        self.at_s += seconds
        self.wall_s += seconds

    async def rest(self, woken: asyncio.Event, wait_s: float | None) -> None:
        if wait_s is None or self.holds:
            await woken.wait()
            return
        self.rests.append(wait_s)
        self.advance(wait_s)
        await asyncio.sleep(0.001)  # some time for the test, which looks every two


def settings_of(url: str, name: str = "ops", **keys: Any) -> WebhookSettings:
    """Patient, unless the test says otherwise: days pass while it looks away."""
    own = {"name": name, "url": url, "secret_variable": "HOOK_SECRET", "attempts_max": 1000, "age_max_s": 604_800}
    return WebhookSettings.model_validate({**own, **keys})


@dataclass
class Room:
    """webhooks that run, the alerts that they raised, and their clock."""

    webhooks: Webhooks
    clock: PlayedClock
    alerts: dict[str, str]
    told: list[tuple[str, str | None]]

    @property
    def view(self) -> WebhookView:
        return self.webhooks.views()[0]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def posting(
    *settings: WebhookSettings, state: Path | None = None, clock: PlayedClock | None = None, seed: int = 1
) -> AsyncIterator[Room]:
    """Ends as a kill would end it, without `stop`."""
    clock = clock or PlayedClock()
    alerts: dict[str, str] = {}
    told: list[tuple[str, str | None]] = []

    def alert(key: str, text: str | None) -> None:
        if alerts.get(key) == text:
            return
        told.append((key, text))
        if text is None:
            del alerts[key]
        else:
            alerts[key] = text

    webhooks = Webhooks(settings, state, alert, clock=clock, random_=random.Random(seed), environment=dict(ENVIRONMENT))
    webhooks.start()
    running = asyncio.create_task(webhooks.run())
    try:
        yield Room(webhooks, clock, alerts, told)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await webhooks._box._calls.call(lambda: None)  # a kill would end the thread that writes, too: here it is done
