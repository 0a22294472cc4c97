"""What a listener hands to a servicer, and what a servicer is.

Both listeners build a `Call` from bytes on the wire and look its method up in `METHODS` (methods.py). Always: a handler
gets the whole request message and gives whole reply messages; framing, compression and metadata are the listener's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from server.worker.models.table import ModelTable
from server.worker.routing import ANYWHERE, Wish
from server.worker.servicers.health_board import HealthBoard
from server.worker.status import BadInput

MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. deadline_ns: monotonic (`time.monotonic_ns`), None where there is none. wish: who shall answer."""

    message: bytes
    deadline_ns: int | None = None
    wish: Wish = ANYWHERE


@dataclass(frozen=True, slots=True)
class Serving:
    """What a worker serves: the servicers' whole world."""

    models: ModelTable
    health: HealthBoard
    server_name: str
    server_version: str
    message_bytes_max: int


@dataclass(frozen=True, slots=True)
class UnaryMethod:
    """One request message, one reply message. Fails by raising StatusError."""

    answer: Callable[[Serving, Call], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class StreamingMethod:
    """One request message, any number of reply messages, ended by StatusError or by the iterator's end."""

    answers: Callable[[Serving, Call], AsyncIterator[bytes]]


Method = UnaryMethod | StreamingMethod


def parsed(message_type: type[MessageT], message: bytes) -> MessageT:
    """The request as its generated class. Unknown fields are skipped, as protobuf has it."""
    request = message_type()
    try:
        request.ParseFromString(message)
    except DecodeError as error:
        raise BadInput(
            "message",
            expected=f"a {message_type.DESCRIPTOR.full_name} in protobuf encoding",
            got=f"{len(message)} bytes that are none",
            hint="Strings must be UTF-8; generate the client from the server's .proto files.",
        ) from error
    return request


def serialised(reply: Message) -> bytes:
    """Canonical bytes: fields in field order, defaults left out, map keys sorted."""
    return reply.SerializeToString(deterministic=True)
