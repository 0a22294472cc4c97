"""One POST over HTTP/1.1, within a time: asyncio's streams, and h11 for the protocol.

h11 comes with uvicorn, so that the serving core needs no client library; a client in a thread (urllib) bounds each
read, not the whole attempt, and can't be ended. Always: one connection an attempt, closed after it; redirects are not
followed, proxies not asked; of an answer no more is read than its bound. `look_up` and `tls_context` block: they are
called in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import h11

from server.version import VERSION

ADDRESSES_MAX: Final = 4
ANSWER_BYTES_MAX: Final = 65_536
READ_BYTES: Final = 4096
BODY_WAIT_S: Final = 1.0
PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Target:
    """A URL taken apart. authority: host and port as they were written, for the `host` header."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


@dataclass(frozen=True)
class Answer:
    """retry_after: the header's text, empty where there is none."""

    status: int
    retry_after: str


def target_of(url: str) -> Target:
    """url: as the settings allow it."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    assert parts.hostname is not None
    return Target(parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme], parts.netloc, path)


def look_up(target: Target) -> tuple[str, ...]:
    """The host's addresses, the system's first choice first. Blocks; raises OSError."""
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))[:ADDRESSES_MAX]


def tls_context() -> ssl.SSLContext:
    """Trusts what the system trusts, or SSL_CERT_FILE names. Blocks; raises OSError."""
    return ssl.create_default_context()


async def post(
    target: Target,
    addresses: Sequence[str],
    headers: Sequence[tuple[str, str]],
    body: bytes,
    until_s: float,
    tls: ssl.SSLContext | None,
) -> Answer:
    """The answer's status. until_s: by the loop's clock, when the answer's headers must be there.

    Raises OSError (TimeoutError is one) and h11.RemoteProtocolError where there is no answer.
    """
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout_at(until_s):
            reader, writer = await _connected(target, addresses, until_s, tls)
            connection = h11.Connection(h11.CLIENT)
            await _send(connection, writer, target, headers, body)
            answer = await _read_head(connection, reader)
        await _read_rest(connection, reader)
        return answer
    finally:
        if writer is not None:
            writer.transport.abort()


async def _connected(
    target: Target, addresses: Sequence[str], until_s: float, tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that takes us, each having its share of the time that is left."""
    failure: OSError = OSError(f"no address of {target.host}")
    host = target.host if tls is not None else None
    for tried, address in enumerate(addresses):
        share_s = (until_s - asyncio.get_running_loop().time()) / (len(addresses) - tried)
        try:
            async with asyncio.timeout(share_s):
                return await asyncio.open_connection(address, target.port, ssl=tls, server_hostname=host)
        except OSError as error:
            failure = error
    raise failure


async def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    target: Target,
    headers: Sequence[tuple[str, str]],
    body: bytes,
) -> None:
    own = [
        ("host", target.authority),
        ("user-agent", f"roost/{VERSION}"),
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("connection", "close"),
    ]
    request = h11.Request(method="POST", target=target.path, headers=[*own, *headers])
    for event in (request, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    await writer.drain()


async def _read_head(connection: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    """Status and headers, whatever 1xx came before them. h11 bounds each of them, this how many there are."""
    read_bytes = 0
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            retry_after = dict(event.headers).get(b"retry-after", b"")
            return Answer(event.status_code, retry_after.decode("latin-1"))
        if event is h11.NEED_DATA:
            if read_bytes > ANSWER_BYTES_MAX:
                raise h11.RemoteProtocolError(f"more than {ANSWER_BYTES_MAX} bytes before an answer")
            data = await reader.read(READ_BYTES)
            read_bytes += len(data)
            connection.receive_data(data)


async def _read_rest(connection: h11.Connection, reader: asyncio.StreamReader) -> None:
    """The body, so far as it is short and comes soon: who is cut off while he writes may take it for an error."""
    read_bytes = 0
    with contextlib.suppress(OSError, h11.RemoteProtocolError):
        async with asyncio.timeout(BODY_WAIT_S):
            while read_bytes < ANSWER_BYTES_MAX:
                event = connection.next_event()
                if isinstance(event, h11.EndOfMessage):
                    return
                if event is h11.NEED_DATA:
                    data = await reader.read(READ_BYTES)
                    read_bytes += len(data)
                    connection.receive_data(data)
