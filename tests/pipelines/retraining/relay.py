"""The relay in a thread of this process, between a real sender and a GitHub that is played, for this folder's tests."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from pipelines.retraining.admission import Admission
from pipelines.retraining.github import GitHub
from pipelines.retraining.receiver import PATH, Receiver
from server.control.webhooks.delivery import document
from server.control.webhooks.signing import signed_headers
from tests.control.webhooks.receivers import SECRET, HttpReceiver, PlayedClock

TOKEN = "github_pat_of_the_test"
REPOSITORY = "team/models"
QUIET_S = 3600.0


@dataclass
class Relay:
    """url: where deliveries go. secret_file, token_file: what it reads, to be changed by a test."""

    url: str
    clock: PlayedClock
    secret_file: Path
    token_file: Path

    def post(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        return httpx.post(self.url, content=body, headers=headers, trust_env=False)

    def post_signed(self, body: bytes, id_: str = "evt_1", *, age_s: int = 0, secret: str = SECRET) -> httpx.Response:
        return self.post(body, headers_of(body, id_, int(self.clock.wall_s) - age_s, secret))


def headers_of(body: bytes, id_: str, at_s: int, secret: str = SECRET) -> dict[str, str]:
    """As a server makes them."""
    return dict(signed_headers(secret.encode(), id_, at_s, body))


def drift_body(id_: str = "evt_1", model: str = "employment", signal: str = "inputs", kind: str = "drift") -> bytes:
    """As a server writes it."""
    text = "inputs have drifted in the last day."
    return document(id_, "2027-01-15T08:00:00.000Z", kind, model, text, {"signal": signal}).encode()  # type: ignore[arg-type]


class Switch:
    """An application whose place another one takes, so that one server does for many tests: each end takes 0.2 s."""

    now: Starlette

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.now(scope, receive, send)


@contextlib.contextmanager
def serving(port: int = 0) -> Iterator[tuple[Switch, str]]:
    """A server in a thread of this process, and its address."""
    switch = Switch()
    configuration = uvicorn.Config(switch, port=port, log_config=None, access_log=False, lifespan="off")
    socket, server = configuration.bind_socket(), uvicorn.Server(configuration)
    socket.listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    try:
        yield switch, f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        socket.close()


def relay_of(
    served: tuple[Switch, str], github: HttpReceiver, folder: Path, clock: PlayedClock | None = None
) -> Relay:
    """github: where it asks. folder: of the secret and the token."""
    clock, secret, token = clock or PlayedClock(), folder / "secret", folder / "token"
    secret.write_text(SECRET)
    token.write_text(f"{TOKEN}\n")
    asks = GitHub(f"http://127.0.0.1:{github.port}", REPOSITORY, token)
    admission = Admission(("employment", "flights"), QUIET_S)
    switch, address = served
    switch.now = Receiver(asks, admission, [secret], clock.utc_s, clock.now_s).application()
    return Relay(f"{address}{PATH}", clock, secret, token)
