"""`read_predict`, one check at a time: what it takes and what it leaves to the servicers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from native.wire import parsed as layout
from native.wire.codes import HAND_OVER, OK
from native.wire.datatypes import BOOL, FP16, FP32, INT64
from native.wire.directory import ModelDirectory, WireModel, WireTensor
from native.wire.predict_reader import read_predict
from protos.roost.v1 import predict_pb2 as pb
from tests.oracles.messages import predict_meaning
from tests.oracles.varints import FIXED32, LENGTH_DELIMITED, VARINT, length_delimited, tag, varint
from tests.wire.message_rows import meaning_of
from tests.wire.row import KNOWN, array, parsed_vector

TWO = WireModel(
    "two", "3", "0123456789ab", "stable",
    (WireTensor("x", FP32, (-1, 2)), WireTensor("n", INT64, (-1,)), WireTensor("flag", BOOL, (-1, 1))),
    (WireTensor("label", INT64, (-1,)), WireTensor("share", FP32, (-1, 2)), WireTensor("half", FP16, (-1,))),
    max_rows=4,
)  # fmt: skip
ONE = WireModel("one", "", "", "", (WireTensor("x", FP32, (-1, 2)),), (WireTensor("y", FP32, (-1,)),), max_rows=4)
ALONE = WireModel("alone", "1", "", "", ONE.inputs, ONE.outputs, max_rows=4, batchable=False)
FIXED = WireModel("fixed", "1", "", "", (WireTensor("x", FP32, (1, 2)),), ONE.outputs, max_rows=4)
DIRECTORY = KNOWN.remember(ModelDirectory([TWO, ONE, ALONE, FIXED]))

X = np.arange(4, dtype=np.float32).reshape(2, 2)
N = np.array([7, -7])
FLAG = np.array([[True], [False]])


def request(model: str = "two", rows: int = 2, **fields: Any) -> pb.PredictRequest:
    sent = pb.PredictRequest(model=model, **fields)
    sent.inputs.add(name="x", datatype="FP32", shape=[rows, 2], raw=np.resize(X, (rows, 2)).tobytes())
    if model == "two":
        sent.inputs.add(name="n", datatype="INT64", shape=[rows], raw=np.resize(N, rows).tobytes())
        sent.inputs.add(name="flag", datatype="BOOL", shape=[rows, 1], raw=np.resize(FLAG, rows).tobytes())
    return sent


def changed(change: Any, model: str = "two", **fields: Any) -> bytes:
    sent = request(model, **fields)
    change(sent)
    return sent.SerializeToString()


def read(message: bytes) -> Any:
    content = array(message)
    arguments = (content, 0, len(message), DIRECTORY.table, DIRECTORY.blob, parsed_vector())
    return meaning_of(read_predict(*arguments), arguments)


def tensor(*fields: bytes) -> bytes:
    return length_delimited(4, b"".join(fields))


ONE_MODEL = length_delimited(1, b"one")
NAME, TYPE, SHAPE = length_delimited(1, b"x"), length_delimited(2, b"FP32"), length_delimited(3, b"\2\2")
RAW = length_delimited(4, X.tobytes())
PLAIN = ONE_MODEL + tensor(NAME, TYPE, SHAPE, RAW)

TAKEN = {
    "plain": PLAIN,
    "three inputs": request().SerializeToString(),
    "inputs in another order": changed(lambda sent: sent.inputs.append(sent.inputs.pop(0))),
    "the version that is served": request(version="3").SerializeToString(),
    "a routing key": request(routing_key="customer-7").SerializeToString(),
    "one output": request(outputs=["share"]).SerializeToString(),
    "all outputs, named": request(outputs=["label", "share", "half"]).SerializeToString(),
    "as many rows as fit": request("one", rows=4).SerializeToString(),
    "the model last": tensor(NAME, TYPE, SHAPE, RAW) + ONE_MODEL,
    "another model first": length_delimited(1, b"two") + PLAIN,
    "the contents before the name": ONE_MODEL + tensor(RAW, SHAPE, TYPE, NAME),
    "dimensions one by one": ONE_MODEL + tensor(NAME, TYPE, (tag(3, VARINT) + b"\2") * 2, RAW),
    "dimensions in two packs": ONE_MODEL + tensor(NAME, TYPE, length_delimited(3, b"\2") * 2, RAW),
    "dimensions in more bytes than needed": ONE_MODEL + tensor(NAME, TYPE, length_delimited(3, b"\x82\0\2"), RAW),
    "an earlier raw": ONE_MODEL + tensor(NAME, TYPE, SHAPE, length_delimited(4, b"?"), RAW),
    "packed floats": ONE_MODEL + tensor(NAME, TYPE, SHAPE, length_delimited(6, X.tobytes())),
    "unknown fields": length_delimited(99, b"?") + tag(9, VARINT) + b"\xff" * 9 + b"\1" + PLAIN,
    "unknown fields in a tensor": ONE_MODEL + tensor(NAME, tag(7, FIXED32) + b"1234", TYPE, SHAPE, RAW),
    "a length in five bytes": tag(1, LENGTH_DELIMITED) + b"\x83\x80\x80\x80\0one" + PLAIN[5:],
}

LEFT = {
    "nothing": b"",
    "no such model": request("three").SerializeToString(),
    "a model name that begins alike": changed(lambda sent: setattr(sent, "model", "twofold")),
    "a model whose rows depend on each other": request("alone").SerializeToString(),
    "a model without free rows": request("fixed").SerializeToString(),
    "another version": request(version="4").SerializeToString(),
    "a routing key that is not ASCII": request(routing_key="ü").SerializeToString(),
    "no input": changed(lambda sent: sent.ClearField("inputs")),
    "an input less": changed(lambda sent: sent.inputs.pop()),
    "an input twice": changed(lambda sent: (sent.inputs.pop(), sent.inputs.append(sent.inputs[0]))),
    "an input more": changed(lambda sent: sent.inputs.append(sent.inputs[0])),
    "seventeen inputs": PLAIN + tensor(NAME) * 16,
    "an unknown input": changed(lambda sent: setattr(sent.inputs[0], "name", "z")),
    "another datatype": changed(lambda sent: setattr(sent.inputs[0], "datatype", "FP64")),
    "no datatype": changed(lambda sent: sent.inputs[0].ClearField("datatype")),
    "no shape": changed(lambda sent: sent.inputs[0].ClearField("shape")),
    "a dimension more": changed(lambda sent: sent.inputs[0].shape.append(1)),
    "a dimension less": changed(lambda sent: sent.inputs[0].shape.pop()),
    "another dimension": changed(lambda sent: sent.inputs[0].shape.__setitem__(1, 1)),
    "seventeen dimensions": ONE_MODEL + tensor(NAME, TYPE, length_delimited(3, b"\2" * 17), RAW),
    "seventeen dimensions one by one": ONE_MODEL + tensor(NAME, TYPE, (tag(3, VARINT) + b"\2") * 17, RAW),
    "no rows": ONE_MODEL + tensor(NAME, TYPE, length_delimited(3, b"\0\2"), length_delimited(4, b"")),
    "too many rows": request("one", rows=5).SerializeToString(),
    "rows that wrap": ONE_MODEL + tensor(NAME, TYPE, length_delimited(3, varint(2**62 + 2) + b"\2"), RAW),
    "negative rows": ONE_MODEL + tensor(NAME, TYPE, length_delimited(3, varint(-2) + b"\2"), RAW),
    "other rows in another input": changed(
        lambda sent: (sent.inputs[1].shape.__setitem__(0, 1), setattr(sent.inputs[1], "raw", bytes(8)))
    ),
    "other rows in a shape alone": changed(lambda sent: sent.inputs[1].shape.__setitem__(0, 1)),
    "a byte less": changed(lambda sent: setattr(sent.inputs[0], "raw", X.tobytes()[1:])),
    "a byte more": changed(lambda sent: setattr(sent.inputs[0], "raw", X.tobytes() + b"\0")),
    "no contents": changed(lambda sent: sent.inputs[0].ClearField("raw")),
    "a bool of two": changed(lambda sent: setattr(sent.inputs[2], "raw", b"\1\2")),
    "raw and floats": ONE_MODEL + tensor(NAME, TYPE, SHAPE, RAW, length_delimited(6, X.tobytes())),
    "raw and byte strings": ONE_MODEL + tensor(NAME, TYPE, SHAPE, RAW, length_delimited(5, b"")),
    "floats in two packs": ONE_MODEL + tensor(NAME, TYPE, SHAPE, length_delimited(6, X.tobytes()[:8]) * 2),
    "floats one by one": ONE_MODEL + tensor(NAME, TYPE, SHAPE, (tag(6, FIXED32) + b"1234") * 4),
    "floats for integers": changed(
        lambda sent: (sent.inputs[1].ClearField("raw"), sent.inputs[1].float_values.extend([1, 2, 3, 4]))
    ),
    "an unknown output": request(outputs=["nothing"]).SerializeToString(),
    "outputs in another order": request(outputs=["share", "label"]).SerializeToString(),
    "an output twice": request(outputs=["share", "share"]).SerializeToString(),
    "seventeen outputs": request(outputs=["label"] * 17).SerializeToString(),
    "a model that was no UTF-8 at first": length_delimited(1, b"\xff") + PLAIN,
    "a version that was no UTF-8 at first": length_delimited(2, b"\xff") + length_delimited(2, b"") + PLAIN,
    "a routing key that was no UTF-8 at first": length_delimited(3, b"\xff") + length_delimited(3, b"") + PLAIN,
    "an input's name that was no UTF-8 at first": ONE_MODEL
    + tensor(length_delimited(1, b"\xff"), NAME, TYPE, SHAPE, RAW),
    "an input's datatype that was no UTF-8 at first": (
        ONE_MODEL + tensor(NAME, length_delimited(2, b"\xff"), TYPE, SHAPE, RAW)
    ),
    "a field number of zero": PLAIN + b"\2\0",
    "a field number of zero in a tensor": ONE_MODEL + tensor(NAME, TYPE, SHAPE, RAW, b"\2\0"),
    "a group": PLAIN + tag(9, 3) + tag(9, 4),
    "a known field of another wire type": PLAIN + tag(3, VARINT) + b"\1",
    "a length beyond the end": PLAIN + tag(3, LENGTH_DELIMITED) + b"\1",
    "a length of 2^63 - 1": PLAIN + tag(3, LENGTH_DELIMITED) + varint(2**63 - 1),
    "an inner length beyond its tensor": ONE_MODEL
    + tensor(NAME, TYPE, SHAPE, tag(4, LENGTH_DELIMITED) + b"\x10")
    + b"?" * 16,
    "a tag that is cut": PLAIN + b"\x80",
    "a tag in six bytes": PLAIN + b"\x9a\x80\x80\x80\x80\0\0",
    "an unknown varint in eleven bytes": PLAIN + tag(9, VARINT) + b"\xff" * 10 + b"\1",
    "an unknown varint of 65 bits": PLAIN + tag(9, VARINT) + b"\xff" * 9 + b"\3",
    "an unknown fixed64 that is cut": PLAIN + tag(9, 1) + bytes(7),
    "an unknown fixed32 that is cut": PLAIN + tag(9, FIXED32) + bytes(3),
    "an unknown length beyond the end": PLAIN + tag(9, LENGTH_DELIMITED) + b"\2?",
}


@pytest.mark.parametrize("message", TAKEN.values(), ids=TAKEN)
def test_a_message_that_clients_send_is_taken(message: bytes) -> None:
    expected = predict_meaning(message, DIRECTORY.models).meaning
    assert expected is not None
    assert read(message) == expected


@pytest.mark.parametrize("message", LEFT.values(), ids=LEFT)
def test_a_message_that_is_wrong_or_unusual_is_handed_over(message: bytes) -> None:
    assert read(message) == HAND_OVER


@pytest.mark.parametrize("end", range(len(TAKEN["three inputs"])))
def test_a_message_cut_anywhere_is_handed_over(end: int) -> None:
    assert read(TAKEN["three inputs"][:end]) == HAND_OVER


def test_offsets_count_from_the_front_of_the_array_not_of_the_message() -> None:
    content = array(b"before" + PLAIN + b"after")
    parsed = parsed_vector()
    assert read_predict(content, 6, 6 + len(PLAIN), DIRECTORY.table, DIRECTORY.blob, parsed) == OK
    offset, length, encoding = parsed[layout.PARSED_INPUTS : layout.PARSED_INPUTS + 3]
    assert content[offset : offset + length].tobytes() == X.tobytes()
    assert encoding == layout.ENCODING_FIXED
