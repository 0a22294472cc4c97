"""`read_infer`, one check at a time: what it takes and what it leaves to the servicers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from native.wire.codes import HAND_OVER
from native.wire.datatypes import BOOL, FP16, FP32, FP64, INT8, INT64, UINT16, UINT64
from native.wire.directory import ModelDirectory, WireModel, WireTensor
from native.wire.infer_reader import read_infer
from protos.inference import grpc_service_pb2 as pb
from tests.oracles.messages import infer_meaning
from tests.oracles.varints import VARINT, length_delimited, tag, varint
from tests.wire.message_rows import meaning_of
from tests.wire.row import KNOWN, array, parsed_vector

Y = (WireTensor("y", FP32, (-1, 1)), WireTensor("z", INT64, (-1,)))
TYPES = {"INT8": INT8, "UINT16": UINT16, "INT64": INT64, "UINT64": UINT64, "BOOL": BOOL, "FP64": FP64, "FP16": FP16}
MODELS = [
    WireModel("two", "3", "", "", (WireTensor("a", FP32, (-1, 2)), WireTensor("b", FP32, (-1,))), Y, max_rows=4),
    WireModel("half", "1", "", "", (WireTensor("x", FP32, (-1,)),), (WireTensor("y", FP16, (-1,)),), max_rows=4),
    *(WireModel(name, "1", "", "", (WireTensor("x", code, (-1,)),), Y, max_rows=4) for name, code in TYPES.items()),
]
DIRECTORY = KNOWN.remember(ModelDirectory(MODELS))
CONTENTS = {"INT8": "int", "UINT16": "uint", "INT64": "int64", "UINT64": "uint64", "BOOL": "bool", "FP64": "fp64"}


def raw(**fields: Any) -> pb.ModelInferRequest:
    sent = pb.ModelInferRequest(model_name="two", **fields)
    sent.inputs.add(name="a", datatype="FP32", shape=[2, 2])
    sent.inputs.add(name="b", datatype="FP32", shape=[2])
    sent.raw_input_contents.extend((np.arange(4, dtype="f4").tobytes(), np.ones(2, "f4").tobytes()))
    return sent


def typed(datatype: str, values: list[Any], field: str = "") -> pb.ModelInferRequest:
    sent = pb.ModelInferRequest(model_name=datatype)
    contents = {(field or CONTENTS[datatype]) + "_contents": values}
    sent.inputs.add(name="x", datatype=datatype, shape=[len(values)], contents=contents)
    return sent


def typed_bytes(datatype: str, rows: int, contents: bytes) -> bytes:
    sent = pb.ModelInferRequest(model_name=datatype)
    sent.inputs.add(name="x", datatype=datatype, shape=[rows])
    inner = sent.inputs[0].SerializeToString() + length_delimited(5, contents)
    return length_delimited(1, datatype.encode()) + length_delimited(5, inner)


def changed(change: Any) -> pb.ModelInferRequest:
    sent = raw()
    change(sent)
    return sent


def float_twice(sent: pb.ModelInferRequest) -> None:
    sent.inputs[0].contents.fp32_contents.extend([0, 0, 0, 0])


HALF = pb.ModelInferRequest(model_name="half")
HALF.inputs.add(name="x", datatype="FP32", shape=[1], contents={"fp32_contents": [1]})
HALF_RAW = pb.ModelInferRequest(model_name="half", raw_input_contents=[b"1234"])
HALF_RAW.inputs.add(name="x", datatype="FP32", shape=[1])

TAKEN = {
    "raw contents": raw(),
    "inputs and raw contents in another order": changed(
        lambda sent: [repeated.append(repeated.pop(0)) for repeated in (sent.inputs, sent.raw_input_contents)]
    ),
    "the version that is served": raw(model_version="3"),
    "an id": raw(id="request-1"),
    "an id of 64 bytes": raw(id="i" * 64),
    "an output": raw(outputs=[{"name": "z"}]),
    "outputs": raw(outputs=[{"name": "y"}, {"name": "z"}]),
    "raw FP16 replies": HALF_RAW,
    "INT8 at its ends": typed("INT8", [-128, 127, -1]),
    "UINT16 at its ends": typed("UINT16", [0, 65535]),
    "INT64 at its ends": typed("INT64", [-(2**63), 2**63 - 1]),
    "UINT64 at its ends": typed("UINT64", [0, 2**64 - 1]),
    "BOOL": typed("BOOL", [True, False]),
    "FP64": typed("FP64", [0.5, -1e300]),
    "a bool of 2^35": typed_bytes("BOOL", 1, length_delimited(1, varint(2**35))),
    "an int32 of 64 bits": typed_bytes("INT8", 1, length_delimited(2, varint(2**40 + 5))),
    "unknown fields in contents": typed_bytes("INT8", 1, tag(99, VARINT) + b"\1" + length_delimited(2, b"\5")),
}

LEFT = {
    "nothing": pb.ModelInferRequest(),
    "parameters": changed(lambda sent: sent.parameters["priority"]),
    "parameters of an input": changed(lambda sent: sent.inputs[0].parameters["binary_data_size"]),
    "parameters of an output": changed(lambda sent: sent.outputs.add(name="y").parameters["classification"]),
    "another version": raw(model_version="33"),
    "an id of 65 bytes": raw(id="i" * 65),
    "an id that is not ASCII": raw(id="ü"),
    "a raw content less": changed(lambda sent: sent.raw_input_contents.pop()),
    "a raw content more": changed(lambda sent: sent.raw_input_contents.append(b"")),
    "seventeen raw contents": changed(lambda sent: sent.raw_input_contents.extend([b""] * 15)),
    "raw contents swapped": changed(lambda sent: sent.raw_input_contents.append(sent.raw_input_contents.pop(0))),
    "raw and typed contents": changed(float_twice),
    "raw and empty contents": changed(lambda sent: sent.inputs[0].contents.SetInParent()),
    "neither raw nor typed": changed(lambda sent: sent.ClearField("raw_input_contents")),
    "typed contents for one of two": changed(lambda sent: (float_twice(sent), sent.ClearField("raw_input_contents"))),
    "an unknown output": raw(outputs=[{"name": "nothing"}]),
    "an output without a name": raw(outputs=[{}]),
    "outputs in another order": raw(outputs=[{"name": "z"}, {"name": "y"}]),
    "seventeen outputs": raw(outputs=[{"name": "z"}] * 17),
    "an input twice": changed(lambda sent: sent.inputs[1].CopyFrom(sent.inputs[0])),
    "other rows in another input": changed(
        lambda sent: (sent.inputs[1].shape.__setitem__(0, 1), sent.raw_input_contents.__setitem__(1, b"1234"))
    ),
    "typed FP16 replies": HALF,
    "INT8 of 128": typed("INT8", [128]),
    "INT8 of -129": typed("INT8", [-129]),
    "UINT16 of 65536": typed("UINT16", [65536]),
    "the field of another type": typed("INT8", [1], field="int64"),
    "contents of FP16": typed("FP16", [1], field="fp32"),
    "two fields of contents": typed_bytes("INT8", 1, length_delimited(2, b"\1") + length_delimited(3, b"\1")),
    "packs that protobuf concatenates": typed_bytes("INT8", 2, length_delimited(2, b"\1") * 2),
    "elements one by one": typed_bytes("INT8", 1, tag(2, VARINT) + b"\1"),
    "an element less": typed_bytes("INT8", 2, length_delimited(2, b"\1")),
    "an element more": typed_bytes("INT8", 1, length_delimited(2, b"\1\1")),
    "an element that is cut": typed_bytes("INT8", 1, length_delimited(2, b"\x81")),
    "half a double": typed_bytes("FP64", 1, length_delimited(7, b"1234")),
    "an output's name that was no UTF-8 at first": (
        raw().SerializeToString() + length_delimited(6, length_delimited(1, b"\xff") + length_delimited(1, b"y"))
    ),
    "an id that was no UTF-8 at first": length_delimited(3, b"\xff") + raw(id="a").SerializeToString(),
    "a name that was no UTF-8 at first": length_delimited(1, b"\xff") + raw().SerializeToString(),
    "a version that was no UTF-8 at first": length_delimited(2, b"\xff") + raw(model_version="3").SerializeToString(),
    "a field number of zero": raw().SerializeToString() + b"\2\0",
    "contents twice, which protobuf merges": length_delimited(1, b"INT8")
    + length_delimited(5, typed("INT8", [1]).inputs[0].SerializeToString() + length_delimited(5, b"")),
}


def read(message: bytes) -> Any:
    content = array(message)
    arguments = (content, 0, len(message), DIRECTORY.table, DIRECTORY.blob, parsed_vector())
    return meaning_of(read_infer(*arguments), arguments)


def encoded(request: Any) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString(deterministic=True)


@pytest.mark.parametrize("request_sent", TAKEN.values(), ids=TAKEN)
def test_a_request_that_clients_send_is_taken(request_sent: Any) -> None:
    expected = infer_meaning(encoded(request_sent), DIRECTORY.models).meaning
    assert expected is not None
    assert read(encoded(request_sent)) == expected


@pytest.mark.parametrize("request_sent", LEFT.values(), ids=LEFT)
def test_a_request_that_is_wrong_or_unusual_is_handed_over(request_sent: Any) -> None:
    assert read(encoded(request_sent)) == HAND_OVER


@pytest.mark.parametrize("end", range(len(encoded(TAKEN["raw contents"]))))
def test_a_request_cut_anywhere_is_handed_over(end: int) -> None:
    assert read(encoded(TAKEN["raw contents"])[:end]) == HAND_OVER
