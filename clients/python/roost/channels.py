"""Channels shared by clients of one target: opened by the first, closed by the last.

Used by both clients. Always: a channel's count is the number of open clients that hold it, and an asyncio channel is
never shared between event loops, since it belongs to the one that opened it.
"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import grpc
import grpc.aio

REPLY_BYTES_MAX_DEFAULT = 64 * 1024 * 1024
RECONNECT_MS_MAX = 3000

# Only UNAVAILABLE is retried: the call did not reach a server, a draining one refused it, or the connection was cut
# while the server worked on it. In the last case the server may do it twice, which is harmless: Predict and ModelInfer
# are idempotent, for a prediction changes nothing. Every other status is the caller's to judge. The throttle stops
# retries while more than a few fail, so that they never multiply the load on a server that is coming back.
SERVICE_CONFIG: dict[str, Any] = {
    "methodConfig": [
        {
            "name": [{"service": "roost.v1.Prediction"}, {"service": "inference.GRPCInferenceService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.1},
}


class ChannelKey(NamedTuple):
    """What two clients must agree on to share a channel."""

    target: str
    credentials: grpc.ChannelCredentials | None
    reply_bytes_max: int

    @property
    def options(self) -> list[tuple[str, Any]]:
        return [
            ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
            ("grpc.max_receive_message_length", self.reply_bytes_max),
            # A server that is back is found within seconds; by itself gRPC waits up to two minutes.
            ("grpc.max_reconnect_backoff_ms", RECONNECT_MS_MAX),
            ("grpc.max_send_message_length", -1),  # the server's limit counts, and its refusal names it
        ]


AnyChannel = TypeVar("AnyChannel", grpc.Channel, grpc.aio.Channel)


@dataclass
class _Shared(Generic[AnyChannel]):
    channel: AnyChannel
    clients: int


_lock = threading.Lock()
_blocking: dict[ChannelKey, _Shared[grpc.Channel]] = {}
_asyncio: dict[tuple[ChannelKey, asyncio.AbstractEventLoop], _Shared[grpc.aio.Channel]] = {}


def acquire(key: ChannelKey) -> grpc.Channel:
    """The blocking channel for `key`, counted once more. Give it back with `release`."""
    with _lock:
        shared = _blocking.get(key)
        if shared is None:
            if key.credentials is None:
                channel = grpc.insecure_channel(key.target, key.options)
            else:
                channel = grpc.secure_channel(key.target, key.credentials, key.options)
            shared = _blocking[key] = _Shared(channel, 0)
        shared.clients += 1
        return shared.channel


def release(key: ChannelKey) -> None:
    """Gives a blocking channel back; the last client's closes it, which ends its calls with CANCELLED."""
    with _lock:
        shared = _blocking[key]
        shared.clients -= 1
        if shared.clients:
            return
        del _blocking[key]
    shared.channel.close()


def acquire_asyncio(key: ChannelKey, loop: asyncio.AbstractEventLoop) -> grpc.aio.Channel:
    """The channel for `key` on the running `loop`, counted once more. Give it back with `release_asyncio`."""
    with _lock:
        for stale in [place for place in _asyncio if place[1].is_closed()]:
            del _asyncio[stale]  # its loop ended with clients still open; nothing can be awaited on it any more
        shared = _asyncio.get((key, loop))
        if shared is None:
            if key.credentials is None:
                channel = grpc.aio.insecure_channel(key.target, key.options)
            else:
                channel = grpc.aio.secure_channel(key.target, key.credentials, key.options)
            shared = _asyncio[key, loop] = _Shared(channel, 0)
        shared.clients += 1
        return shared.channel


async def release_asyncio(key: ChannelKey, loop: asyncio.AbstractEventLoop) -> None:
    """Gives an asyncio channel back; the last client's closes it, which cancels its calls."""
    with _lock:
        shared = _asyncio[key, loop]
        shared.clients -= 1
        if shared.clients:
            return
        del _asyncio[key, loop]
    await shared.channel.close(grace=None)
