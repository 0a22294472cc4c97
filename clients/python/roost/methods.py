"""The server's methods that the clients call, and the time a call may take. Used by both clients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from roost import metadata
from roost.errors import InvalidInput
from roost.v1 import predict_pb2

TIMEOUT_S_DEFAULT = 10.0


class Method(NamedTuple):
    """A unary method: its path and how its messages become bytes and back."""

    path: str
    serialize: Callable[[Any], bytes]
    deserialize: Callable[[bytes], Any]


PREDICT = Method(
    "/roost.v1.Prediction/Predict",
    predict_pb2.PredictRequest.SerializeToString,
    predict_pb2.PredictReply.FromString,
)


def inference_method(name: str) -> Method:
    """The Open Inference Protocol's method `name`, as in "ModelReady"."""
    request, response = metadata.message_class(f"{name}Request"), metadata.message_class(f"{name}Response")
    return Method(f"/{metadata.SERVICE}/{name}", request.SerializeToString, response.FromString)


def checked_target(target: str) -> str:
    """`target` if it can be one: "host:port", or any name that gRPC resolves."""
    if not isinstance(target, str) or not target:
        raise InvalidInput(f"target: expected 'host:port', got {target!r}.")
    if "://" in target and target.split("://", 1)[0] in ("http", "https", "grpc"):
        raise InvalidInput(
            f"target: expected 'host:port', got {target!r}. Leave out the scheme; TLS is `credentials=`."
        )
    return target


def checked_timeout(timeout_s: float | None) -> float | None:
    """`timeout_s` if it is a positive number of seconds or None for no limit. Raises InvalidInput otherwise."""
    if timeout_s is None:
        return None
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not 0 < timeout_s < math.inf:
        raise InvalidInput(f"timeout_s: expected seconds above 0, or None for the client's own, got {timeout_s!r}.")
    return float(timeout_s)
