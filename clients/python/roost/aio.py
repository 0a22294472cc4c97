"""The asyncio client: `roost.aio.Client`, the same as `roost.Client` with every method awaited.

A client belongs to the event loop of its first call. Cancelling the task that awaits a call cancels the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import grpc.aio
import numpy.typing as npt

from roost import channels, errors, metadata, methods
from roost.predictions import Prediction, prediction_of, request_of

__all__ = ["Client"]


class Client:
    """A Roost server on asyncio. Arguments and errors are `roost.Client`'s.

    It connects at the first call; close it, or use it in `async with`. Clients of one target on one loop share one
    channel. A call is cancelled with the task that awaits it, which gets `asyncio.CancelledError`.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float | None = methods.TIMEOUT_S_DEFAULT,
        credentials: grpc.ChannelCredentials | None = None,
        reply_bytes_max: int = channels.REPLY_BYTES_MAX_DEFAULT,
    ) -> None:
        self._timeout_s = methods.checked_timeout(timeout_s)
        self._key = channels.ChannelKey(methods.checked_target(target), credentials, reply_bytes_max)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None
        self._predict: Any = None
        self._closed = False

    async def predict(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        version: str = "",
        routing_key: str = "",
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Prediction:
        """Runs rows through a model. Arguments, shapes, dtypes and errors are `roost.Client.predict`'s."""
        request = request_of(model, inputs, version, routing_key, outputs)
        channel = self._open_channel()
        if self._predict is None:
            self._predict = _callable(channel, methods.PREDICT)
        return prediction_of(await self._call(self._predict, request, timeout_s))

    async def is_live(self, *, timeout_s: float | None = None) -> bool:
        """Whether the server runs. Raises Unavailable where none answers."""
        return bool((await self._ask("ServerLive", timeout_s)).live)

    async def is_ready(self, model: str = "", *, version: str = "", timeout_s: float | None = None) -> bool:
        """Whether `model` answers predictions; without a name, whether every configured model does."""
        if model:
            return bool((await self._ask("ModelReady", timeout_s, name=model, version=version)).ready)
        return bool((await self._ask("ServerReady", timeout_s)).ready)

    async def model_metadata(
        self, model: str, *, version: str = "", timeout_s: float | None = None
    ) -> metadata.ModelMetadata:
        """Names, datatypes and shapes of what `model` takes and gives."""
        return metadata.model_metadata_of(await self._ask("ModelMetadata", timeout_s, name=model, version=version))

    async def server_metadata(self, *, timeout_s: float | None = None) -> metadata.ServerMetadata:
        """What software answers, and its version."""
        return metadata.server_metadata_of(await self._ask("ServerMetadata", timeout_s))

    async def close(self) -> None:
        """Gives the channel back; the last client of a target to close cancels its calls. May be repeated."""
        self._closed = True
        if self._channel is not None and self._loop is not None:
            self._channel, loop = None, self._loop
            await channels.release_asyncio(self._key, loop)

    async def __aenter__(self) -> Client:
        self._open_channel()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, name: str, timeout_s: float | None, /, **fields: str) -> Any:
        call = _callable(self._open_channel(), methods.inference_method(name))
        return await self._call(call, metadata.message_class(f"{name}Request")(**fields), timeout_s)

    async def _call(self, method: Any, request: Any, timeout_s: float | None) -> Any:
        seconds = self._timeout_s if timeout_s is None else methods.checked_timeout(timeout_s)
        try:
            return await method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise errors.of_call(error) from error
        except asyncio.CancelledError:
            # grpcio raises this too when the channel closes under a call; only a task that was asked to end may see it.
            if self._closed and not _is_cancelling():
                raise errors.Cancelled(f"client: closed while a call to {self._key.target} was under way.") from None
            raise

    def _open_channel(self) -> grpc.aio.Channel:
        loop = asyncio.get_running_loop()
        if self._closed:
            raise errors.Cancelled(f"client: expected an open client for {self._key.target}, got a closed one.")
        if self._channel is None:
            self._loop, self._channel = loop, channels.acquire_asyncio(self._key, loop)
        elif self._loop is not loop:
            raise errors.InvalidInput(
                "client: expected the event loop of its first call. Make one client for each loop."
            )
        return self._channel


def _is_cancelling() -> bool:
    """Whether the current task was asked to end. Python 3.10 cannot tell: there it counts as asked."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is None or cancelling() > 0


def _callable(channel: grpc.aio.Channel, method: methods.Method) -> Any:
    return channel.unary_unary(method.path, method.serialize, method.deserialize)
