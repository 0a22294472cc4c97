"""roost.v1.Prediction: one unary method, named tensors in and out.

The complete path: everything the .proto allows, in the words of docs/reference/protocol.md. The fast lane answers
regular requests without it and must mean the same.
"""

from __future__ import annotations

from protos.roost.v1 import predict_pb2
from registry_client.tensors import Datatype
from server.worker.models.served import ServedModel
from server.worker.servicers.call import Call, Serving, parsed, serialised
from server.worker.servicers.tensors import (
    Array,
    check_all_present,
    check_same_rows,
    checked_shape,
    from_elements,
    from_raw,
    spec_of,
    to_raw,
    wanted_outputs,
)
from server.worker.status import BadInput

VALUE_FIELDS = ("raw", "bytes_values", "float_values")


async def predict(serving: Serving, call: Call) -> bytes:
    """roost.v1.Prediction/Predict."""
    request = parsed(predict_pb2.PredictRequest, call.message)
    model, routed = serving.models.lookup(
        request.model,
        request.version,
        name_field="model",
        version_field="version",
        wish=call.wish.with_key(request.routing_key),
    )
    inputs = _inputs(request, model)
    wanted = wanted_outputs(request.outputs, model.signature, lambda index: f"outputs[{index}]")
    outputs, seat = await model.predict(inputs, call.deadline_ns, routed)
    model = serving.models.at(seat)

    reply = predict_pb2.PredictReply(
        model=model.name,
        version=model.version,
        digest_prefix=model.digest_prefix,
        variant=serving.models.variant(model),
    )
    for spec in wanted:
        array = outputs[spec.name]
        tensor = reply.outputs.add(name=spec.name, datatype=spec.datatype.name, shape=array.shape)
        if spec.datatype is Datatype.BYTES:
            tensor.bytes_values.extend(array.ravel().tolist())
        else:
            tensor.raw = to_raw(spec.datatype, array)
    return serialised(reply)


def _inputs(request: predict_pb2.PredictRequest, model: ServedModel) -> dict[str, Array]:
    inputs: dict[str, Array] = {}
    field_of: dict[str, str] = {}
    for index, tensor in enumerate(request.inputs):
        field = f"inputs[{index}]"
        spec = spec_of(field, tensor.name, model.signature.inputs, inputs)
        shape = checked_shape(field, spec, tensor.datatype, tensor.shape)
        inputs[spec.name] = _values(field, spec.datatype, shape, tensor)
        field_of[spec.name] = field
    check_all_present(model.signature, inputs)
    if model.batchable:
        check_same_rows(field_of, inputs)
    return inputs


def _values(field: str, datatype: Datatype, shape: tuple[int, ...], tensor: predict_pb2.Tensor) -> Array:
    """The elements, from the one field that may hold them: `raw`, or a typed one where the datatype has it."""
    allowed = {Datatype.BYTES: ("bytes_values",), Datatype.FP32: ("raw", "float_values")}.get(datatype, ("raw",))
    present = [name for name in VALUE_FIELDS if getattr(tensor, name)]
    unexpected = [name for name in present if name not in allowed] or (present if len(present) > 1 else [])
    if unexpected:
        expected = f"{datatype.name} in {' or '.join(allowed)}"
        hint = "Fill one field of the tensor with its elements."
        raise BadInput(f"{field}.{unexpected[0]}", expected, " and ".join(present), hint)
    if datatype is Datatype.BYTES:
        return from_elements(f"{field}.bytes_values", datatype, shape, tensor.bytes_values)
    if tensor.float_values:
        return from_elements(f"{field}.float_values", datatype, shape, tensor.float_values)
    return from_raw(f"{field}.raw", datatype, shape, tensor.raw)
