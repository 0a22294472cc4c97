"""The blocking client. For threads: one client may be used by any number of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy.typing as npt

from roost import channels, errors, metadata, methods
from roost.predictions import Prediction, prediction_of, request_of


class Client:
    """A Roost server, or any server of the Open Inference Protocol for all but `predict`.

    target: "host:port". timeout_s: the time of a call that names none; None for no limit. credentials: TLS, from
    `grpc.ssl_channel_credentials`; None for plain text. reply_bytes_max: a longer reply is refused as Overloaded.
    Clients of one target share one channel. It connects at the first call; close the client, or use it in `with`.

    Every method raises `roost.errors.RoostError`, by its class: InvalidInput, ModelNotFound, NotReady, Overloaded,
    DeadlineExceeded, Unavailable (after retries), Unimplemented, PermissionDenied, Cancelled, ServerError, BadReply.
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
        self._channel: grpc.Channel | None = channels.acquire(self._key)
        self._predict = _callable(self._channel, methods.PREDICT)

    def predict(
        self,
        model: str,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        version: str = "",
        routing_key: str = "",
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Prediction:
        """Runs rows through a model and waits for the answer.

        inputs: array by input name, as the model's metadata lists them, rows first, the same number in each. Any
        numeric or bool dtype, stride and byte order; bytes, str, and object arrays of them, for BYTES. Dtypes are not
        converted to the model's: float64 for an FP32 input is the server's InvalidInput.
        version: as the registry counts it; empty: as traffic is weighted. routing_key: equal keys keep their variant.
        outputs: names of the wanted ones; None: all. timeout_s: seconds for the whole call; None: the client's.
        """
        request = request_of(model, inputs, version, routing_key, outputs)
        return prediction_of(self._call(self._predict, request, timeout_s))

    def is_live(self, *, timeout_s: float | None = None) -> bool:
        """Whether the server runs. Raises Unavailable where none answers."""
        return bool(self._ask("ServerLive", timeout_s).live)

    def is_ready(self, model: str = "", *, version: str = "", timeout_s: float | None = None) -> bool:
        """Whether `model` answers predictions; without a name, whether every configured model does."""
        if model:
            return bool(self._ask("ModelReady", timeout_s, name=model, version=version).ready)
        return bool(self._ask("ServerReady", timeout_s).ready)

    def model_metadata(
        self, model: str, *, version: str = "", timeout_s: float | None = None
    ) -> metadata.ModelMetadata:
        """Names, datatypes and shapes of what `model` takes and gives."""
        return metadata.model_metadata_of(self._ask("ModelMetadata", timeout_s, name=model, version=version))

    def server_metadata(self, *, timeout_s: float | None = None) -> metadata.ServerMetadata:
        """What software answers, and its version."""
        return metadata.server_metadata_of(self._ask("ServerMetadata", timeout_s))

    def close(self) -> None:
        """Gives the channel back. A target's last client to close ends its calls with Cancelled. Repeatable."""
        if self._channel is not None:
            self._channel = None
            channels.release(self._key)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, name: str, timeout_s: float | None, /, **fields: str) -> Any:
        method = methods.inference_method(name)
        channel = self._open_channel()
        return self._call(_callable(channel, method), metadata.message_class(f"{name}Request")(**fields), timeout_s)

    def _call(self, method: Any, request: Any, timeout_s: float | None) -> Any:
        self._open_channel()
        seconds = self._timeout_s if timeout_s is None else methods.checked_timeout(timeout_s)
        try:
            return method(request, timeout=seconds)
        except grpc.RpcError as error:
            raise errors.of_call(error) from error

    def _open_channel(self) -> grpc.Channel:
        if self._channel is None:
            raise errors.Cancelled(f"client: expected an open client for {self._key.target}, got a closed one.")
        return self._channel


def _callable(channel: grpc.Channel, method: methods.Method) -> Any:
    return channel.unary_unary(method.path, method.serialize, method.deserialize)
