"""A prediction's request and reply as Python values. Used by both clients; pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy.typing as npt

from roost.errors import InvalidInput
from roost.tensors import Array, array_of, tensor_of
from roost.v1 import predict_pb2


@dataclass(frozen=True)
class Prediction:
    """What a model answered, and which artifact it was.

    outputs: array by output name, rows first; writable, owned by the caller. `prediction["scores"]` is short for it.
    version: as the registry counts it. digest_prefix: first 12 hexadecimal digits of the artifact's sha256.
    variant: the place in the traffic that answered ("stable"). prediction_id: joins an outcome to it; may be empty.
    """

    outputs: Mapping[str, Array]
    model: str
    version: str
    digest_prefix: str
    variant: str
    prediction_id: str

    def __getitem__(self, output: str) -> Array:
        return self.outputs[output]


def request_of(
    model: str,
    inputs: Mapping[str, npt.ArrayLike],
    version: str,
    routing_key: str,
    outputs: Sequence[str] | None,
) -> predict_pb2.PredictRequest:
    """The request for these arguments of `predict`. Raises InvalidInput, naming the argument at fault."""
    if not isinstance(inputs, Mapping):
        raise InvalidInput(f"inputs: expected a mapping of input name to array, got {type(inputs).__name__}.")
    if isinstance(outputs, str):
        raise InvalidInput(f"outputs: expected a list of names, got the string {outputs!r}. Write [{outputs!r}].")
    for argument, value in (("model", model), ("version", version), ("routing_key", routing_key)):
        _check_text(argument, "a str", value)
    for argument, names in (("inputs", inputs), ("outputs", outputs or ())):
        for name in names:
            _check_text(argument, "str as names", name)
    return predict_pb2.PredictRequest(
        model=model,
        version=version,
        routing_key=routing_key,
        inputs=[tensor_of(name, values) for name, values in inputs.items()],
        outputs=outputs or (),
    )


def _check_text(argument: str, expected: str, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidInput(f"{argument}: expected {expected}, got {type(value).__name__} {value!r}.")
    if not value.isascii() and value.encode(errors="ignore").decode() != value:
        raise InvalidInput(f"{argument}: expected {expected}, got {value!r}, which is not valid UTF-8.")


def prediction_of(reply: predict_pb2.PredictReply) -> Prediction:
    """The prediction that a reply holds. Raises BadReply where a tensor's contents do not fit its shape."""
    return Prediction(
        outputs={tensor.name: array_of(tensor) for tensor in reply.outputs},
        model=reply.model,
        version=reply.version,
        digest_prefix=reply.digest_prefix,
        variant=reply.variant,
        prediction_id=reply.prediction_id,
    )
