"""inference.GRPCInferenceService: the Open Inference Protocol's six methods.

The complete path of ModelInfer, in the words of docs/reference/protocol.md; the fast lane answers regular requests
without it and must mean the same. Always: a request that uses raw_input_contents is answered with
raw_output_contents, one with typed contents with typed contents, save that the protocol has none for FP16 and BF16.
"""

from __future__ import annotations

import json

from protos.inference import grpc_service_pb2 as pb
from registry_client.tensors import Datatype, TensorSpec
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

PLATFORM = "onnxruntime_onnx"

CONTENTS_FIELD = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
CONTENTS_FIELDS = tuple(field.name for field in pb.InferTensorContents.DESCRIPTOR.fields)


async def server_live(serving: Serving, call: Call) -> bytes:
    parsed(pb.ServerLiveRequest, call.message)
    return serialised(pb.ServerLiveResponse(live=True))


async def server_ready(serving: Serving, call: Call) -> bytes:
    """Ready while every configured model is loaded and the worker takes calls; not while it drains."""
    parsed(pb.ServerReadyRequest, call.message)
    return serialised(pb.ServerReadyResponse(ready=serving.health.is_serving))


async def model_ready(serving: Serving, call: Call) -> bytes:
    request = parsed(pb.ModelReadyRequest, call.message)
    serving.models.find(request.name, request.version, name_field="name", version_field="version")
    return serialised(pb.ModelReadyResponse(ready=serving.health.is_serving))


async def server_metadata(serving: Serving, call: Call) -> bytes:
    parsed(pb.ServerMetadataRequest, call.message)
    return serialised(pb.ServerMetadataResponse(name=serving.server_name, version=serving.server_version))


async def model_metadata(serving: Serving, call: Call) -> bytes:
    request = parsed(pb.ModelMetadataRequest, call.message)
    model = serving.models.find(request.name, request.version, name_field="name", version_field="version")
    reply = pb.ModelMetadataResponse(
        name=model.name,
        versions=[model.version],
        platform=PLATFORM,
        inputs=[_metadata(spec) for spec in model.signature.inputs],
        outputs=[_metadata(spec) for spec in model.signature.outputs],
        properties=_properties(model, serving.models.variant(model)),
    )
    return serialised(reply)


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype.name, shape=spec.shape)


def _properties(model: ServedModel, variant: str) -> dict[str, str]:
    properties = {
        "digest": model.digest,
        "variant": variant,
        "batching": "on" if model.batchable else f"off: {model.batching_note}",
    }
    if model.class_labels is not None:
        properties["class_labels"] = json.dumps(list(model.class_labels))
    if model.notes:
        properties["notes"] = " ".join(model.notes)
    return properties


async def model_infer(serving: Serving, call: Call) -> bytes:
    """inference.GRPCInferenceService/ModelInfer."""
    request = parsed(pb.ModelInferRequest, call.message)
    model, routed = serving.models.lookup(
        request.model_name,
        request.model_version,
        name_field="model_name",
        version_field="model_version",
        wish=call.wish,
    )
    is_raw = bool(request.raw_input_contents)
    inputs = _inputs(request, model, is_raw)
    names = [output.name for output in request.outputs]
    wanted = wanted_outputs(names, model.signature, lambda index: f"outputs[{index}].name")
    outputs, seat = await model.predict(inputs, call.deadline_ns, routed)
    model = serving.models.at(seat)

    reply = pb.ModelInferResponse(model_name=model.name, model_version=model.version, id=request.id)
    reply.parameters["digest_prefix"].string_param = model.digest_prefix
    reply.parameters["variant"].string_param = serving.models.variant(model)
    # One form for all outputs of a reply: raw_output_contents goes by position.
    is_raw = is_raw or any(spec.datatype not in CONTENTS_FIELD for spec in wanted)
    for spec in wanted:
        array = outputs[spec.name]
        tensor = reply.outputs.add(name=spec.name, datatype=spec.datatype.name, shape=array.shape)
        if is_raw:
            reply.raw_output_contents.append(to_raw(spec.datatype, array))
        elif array.size:
            getattr(tensor.contents, CONTENTS_FIELD[spec.datatype]).extend(array.ravel().tolist())
    return serialised(reply)


def _inputs(request: pb.ModelInferRequest, model: ServedModel, is_raw: bool) -> dict[str, Array]:
    if is_raw and len(request.raw_input_contents) != len(request.inputs):
        raise BadInput(
            "raw_input_contents",
            f"{len(request.inputs)} entries, one for each of inputs",
            f"{len(request.raw_input_contents)}",
            "Send every tensor's elements in raw_input_contents, or every one's in its contents.",
        )
    inputs: dict[str, Array] = {}
    field_of: dict[str, str] = {}
    for index, tensor in enumerate(request.inputs):
        field = f"inputs[{index}]"
        spec = spec_of(field, tensor.name, model.signature.inputs, inputs)
        shape = checked_shape(field, spec, tensor.datatype, tensor.shape)
        present = [name for name in CONTENTS_FIELDS if getattr(tensor.contents, name)]
        if is_raw:
            _check_no_contents(field, present)
            raw = request.raw_input_contents[index]
            inputs[spec.name] = from_raw(f"raw_input_contents[{index}]", spec.datatype, shape, raw)
        else:
            inputs[spec.name] = _typed(field, spec.datatype, shape, tensor.contents, present)
        field_of[spec.name] = field
    check_all_present(model.signature, inputs)
    if model.batchable:
        check_same_rows(field_of, inputs)
    return inputs


def _check_no_contents(field: str, present: list[str]) -> None:
    if present:
        raise BadInput(
            f"{field}.contents.{present[0]}",
            "nothing beside raw_input_contents",
            "both",
            "Send every tensor's elements in raw_input_contents, or every one's in its contents.",
        )


def _typed(
    field: str, datatype: Datatype, shape: tuple[int, ...], contents: pb.InferTensorContents, present: list[str]
) -> Array:
    if datatype not in CONTENTS_FIELD:
        hint = "The protocol has no typed contents for this datatype."
        raise BadInput(f"{field}.contents", f"{datatype.name} in raw_input_contents", "no raw contents", hint)
    name = CONTENTS_FIELD[datatype]
    unexpected = [other for other in present if other != name]
    if unexpected:
        hint = "Fill the one field of contents that belongs to the datatype."
        raise BadInput(f"{field}.contents.{unexpected[0]}", f"{datatype.name} in {name}", " and ".join(present), hint)
    return from_elements(f"{field}.contents.{name}", datatype, shape, getattr(contents, name))
