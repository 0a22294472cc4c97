"""Bad input: one status whose message names the field, what was expected, what came and what to do."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import numpy as np
import pytest

from protos.inference import grpc_service_pb2 as inference
from protos.roost.v1 import predict_pb2
from tests.behaviour.conftest import Served
from tests.behaviour.messages import MODEL_INFER, PREDICT, infer_request, predict_request

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND

FEATURES = np.zeros((1, 32), np.float32)
MIXED = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((2, 1), np.int64)}

Predict = predict_pb2.PredictRequest
Infer = inference.ModelInferRequest


def predicting(change: Callable[[Predict], object], model: str = "mlp", inputs: dict | None = None) -> bytes:
    request = predict_request(model, inputs or {"features": FEATURES})
    change(request)
    return request.SerializeToString()


def inferring(
    change: Callable[[Infer], object], model: str = "mlp", inputs: dict | None = None, raw: bool = True
) -> bytes:
    request = infer_request(model, inputs or {"features": FEATURES}, raw=raw)
    change(request)
    return request.SerializeToString()


def reshaped(*shape: int) -> Callable[[Predict | Infer], object]:
    def change(request: Predict | Infer) -> None:
        request.inputs[0].shape[:] = shape

    return change


def set_input(**fields: object) -> Callable[[Predict | Infer], object]:
    def change(request: Predict | Infer) -> None:
        for name, value in fields.items():
            setattr(request.inputs[0], name, value)

    return change


def again(request: Predict | Infer) -> None:
    request.inputs.append(request.inputs[0])
    if isinstance(request, Infer):
        request.raw_input_contents.append(request.raw_input_contents[0])


def without_last(request: Predict | Infer) -> None:
    del request.inputs[-1]
    if isinstance(request, Infer):
        del request.raw_input_contents[-1]


def fewer_rows(request: Predict | Infer) -> None:
    request.inputs[1].shape[0] = 1
    if isinstance(request, Infer):
        request.raw_input_contents[1] = bytes(8)
    else:
        request.inputs[1].raw = bytes(8)


def bytes_input(*elements: bytes) -> dict[str, np.ndarray]:
    array = np.empty((1, len(elements)), dtype=object)
    array[0, :] = elements
    return {"x": array}


# name: (method, message, status, what its message holds)
CASES: dict[str, tuple[str, bytes, grpc.StatusCode, list[str]]] = {
    "predict, no protobuf": (PREDICT, b"\xff\xff\xff\xff", INVALID, ["message: expected a roost.v1.PredictRequest"]),
    "infer, no protobuf": (MODEL_INFER, b"\x0a", INVALID, ["message: expected a inference.ModelInferRequest"]),
    "predict, truncated": (
        PREDICT, predicting(lambda r: None)[:-1], INVALID, ["message: expected", "protobuf", "bytes that are none"],
    ),
    "predict, a string that is not UTF-8": (PREDICT, b"\x0a\x01\xff", INVALID, ["message: expected", "UTF-8"]),
    "predict, empty": (PREDICT, b"", NOT_FOUND, ["model: expected one of", '"mlp"', 'got ""']),
    "infer, empty": (MODEL_INFER, b"", NOT_FOUND, ["model_name: expected one of", 'got ""']),
    "predict, unknown model": (
        PREDICT, predicting(lambda r: setattr(r, "model", "nobody")), NOT_FOUND,
        ["model: expected one of", '"mlp"', 'got "nobody"'],
    ),
    "infer, unknown model": (
        MODEL_INFER, inferring(lambda r: setattr(r, "model_name", "nobody")), NOT_FOUND,
        ["model_name: expected one of", 'got "nobody"'],
    ),
    "predict, unknown version": (
        PREDICT, predicting(lambda r: setattr(r, "version", "9")), NOT_FOUND, ['version: expected "0", got "9"'],
    ),
    "infer, unknown version": (
        MODEL_INFER, inferring(lambda r: setattr(r, "model_version", "9")), NOT_FOUND,
        ['model_version: expected "0", got "9"'],
    ),
    "metadata, unknown model": (
        "/inference.GRPCInferenceService/ModelMetadata",
        inference.ModelMetadataRequest(name="nobody").SerializeToString(), NOT_FOUND, ["name: expected one of"],
    ),
    "ready, unknown version": (
        "/inference.GRPCInferenceService/ModelReady",
        inference.ModelReadyRequest(name="mlp", version="7").SerializeToString(), NOT_FOUND, ["version: expected"],
    ),
    "no inputs": (
        PREDICT, predicting(lambda r: r.ClearField("inputs")), INVALID,
        ['inputs: expected "features", got none named "features"'],
    ),
    "an input missing": (
        MODEL_INFER, inferring(without_last, "mixed", MIXED), INVALID, ['inputs: expected "a", "b"', 'none named "b"'],
    ),
    "an input unknown": (
        PREDICT, predicting(set_input(name="x")), INVALID, ['inputs[0].name: expected one of "features", got "x"'],
    ),
    "an input twice": (PREDICT, predicting(again), INVALID, ["inputs[1].name: expected each name once"]),
    "an input twice, raw": (MODEL_INFER, inferring(again), INVALID, ["inputs[1].name: expected each name once"]),
    "another datatype": (
        PREDICT, predicting(set_input(datatype="FP64")), INVALID, ['inputs[0].datatype: expected FP32, got "FP64"'],
    ),
    "a datatype that is none": (
        MODEL_INFER, inferring(set_input(datatype="float")), INVALID,
        ['inputs[0].datatype: expected FP32, got "float"'],
    ),
    "a long datatype, shortened": (
        PREDICT, predicting(set_input(datatype="x" * 100_000)), INVALID, ["inputs[0].datatype", "xxx..."],
    ),
    "too few dimensions": (
        PREDICT, predicting(reshaped(32)), INVALID, ["inputs[0].shape: expected [rows, 32], got [32]"],
    ),
    "no dimensions": (PREDICT, predicting(reshaped()), INVALID, ["inputs[0].shape: expected [rows, 32], got []"]),
    "too many dimensions": (
        MODEL_INFER, inferring(reshaped(*[1] * 100)), INVALID, ["inputs[0].shape: expected [rows, 32], got [1, 1,"],
    ),
    "a wrong dimension": (
        MODEL_INFER, inferring(reshaped(1, 31)), INVALID, ["inputs[0].shape: expected [rows, 32], got [1, 31]"],
    ),
    "a negative dimension": (
        PREDICT, predicting(reshaped(-1, 32)), INVALID, ["inputs[0].shape: expected [rows, 32], got [-1, 32]"],
    ),
    "a huge dimension": (
        PREDICT, predicting(reshaped(2**63 - 1, 32)), INVALID, ["inputs[0].shape", "9223372036854775807"],
    ),
    "a product that overflows 64 bits to the right number": (
        MODEL_INFER, inferring(reshaped(2**59 + 1, 32)), INVALID, ["inputs[0].shape"],
    ),
    "a product far beyond the bytes": (
        PREDICT, predicting(reshaped(2**31 - 1, 32)), INVALID,
        ["inputs[0].raw: expected 274877906816 bytes (FP32 [2147483647, 32]), got 128 bytes"],
    ),
    "rows out of nothing": (
        MODEL_INFER,
        inferring(reshaped(2**31 - 1, 0), "dynamic", {
            "a": np.zeros((1, 0), np.float32), "b": np.zeros((0, 1), np.float32),
        }),
        INVALID, ["inputs[0].shape: expected at most 1048576 for the product"],
    ),
    "a byte too few": (
        PREDICT, predicting(set_input(raw=bytes(127))), INVALID,
        ["inputs[0].raw: expected 128 bytes (FP32 [1, 32]), got 127 bytes"],
    ),
    "a byte too many, raw": (
        MODEL_INFER, inferring(lambda r: r.raw_input_contents.__setitem__(0, bytes(129))), INVALID,
        ["raw_input_contents[0]: expected 128 bytes (FP32 [1, 32]), got 129 bytes"],
    ),
    "no elements": (PREDICT, predicting(set_input(raw=b"")), INVALID, ["inputs[0].raw: expected 128 bytes"]),
    "more raw contents than inputs": (
        MODEL_INFER, inferring(lambda r: r.raw_input_contents.append(b"")), INVALID,
        ["raw_input_contents: expected 1 entries, one for each of inputs, got 2"],
    ),
    "fewer raw contents than inputs": (
        MODEL_INFER, inferring(lambda r: r.raw_input_contents.pop(), "mixed", MIXED), INVALID,
        ["raw_input_contents: expected 2 entries", "got 1"],
    ),
    "raw and typed": (
        MODEL_INFER, inferring(lambda r: r.inputs[0].contents.fp32_contents.extend([0.0] * 32)), INVALID,
        ["inputs[0].contents.fp32_contents: expected nothing beside raw_input_contents"],
    ),
    "neither raw nor typed": (
        MODEL_INFER, inferring(lambda r: r.ClearField("raw_input_contents")), INVALID,
        ["inputs[0].contents.fp32_contents: expected 32 elements (FP32 [1, 32]), got 0 elements"],
    ),
    "an element too few": (
        MODEL_INFER, inferring(lambda r: r.inputs[0].contents.fp32_contents.pop(), raw=False), INVALID,
        ["inputs[0].contents.fp32_contents: expected 32 elements", "got 31"],
    ),
    "elements in another type's field": (
        MODEL_INFER, inferring(lambda r: (
            r.inputs[0].contents.Clear(), r.inputs[0].contents.fp64_contents.extend([0.0] * 32)), raw=False), INVALID,
        ["inputs[0].contents.fp64_contents: expected FP32 in fp32_contents, got fp64_contents"],
    ),
    "elements in two fields": (
        MODEL_INFER, inferring(lambda r: r.inputs[0].contents.int_contents.append(1), raw=False), INVALID,
        ["inputs[0].contents.int_contents", "got int_contents and fp32_contents"],
    ),
    "typed FP16": (
        MODEL_INFER,
        inferring(lambda r: r.ClearField("raw_input_contents"), "echo_fp16", {"x": np.zeros((1, 2), np.float16)}),
        INVALID, ["inputs[0].contents: expected FP16 in raw_input_contents"],
    ),
    "an INT8 out of range": (
        MODEL_INFER,
        inferring(lambda r: r.inputs[0].contents.int_contents.__setitem__(1, 128), "echo_int8",
                  {"x": np.zeros((1, 2), np.int8)}, raw=False),
        INVALID, ["inputs[0].contents.int_contents[1]: expected -128 to 127 (INT8), got 128"],
    ),
    "a UINT16 out of range": (
        MODEL_INFER,
        inferring(lambda r: r.inputs[0].contents.uint_contents.__setitem__(0, 65536), "echo_uint16",
                  {"x": np.zeros((1, 2), np.uint16)}, raw=False),
        INVALID, ["inputs[0].contents.uint_contents[0]: expected 0 to 65535 (UINT16), got 65536"],
    ),
    "raw and float_values": (
        PREDICT, predicting(lambda r: r.inputs[0].float_values.extend([0.0] * 32)), INVALID,
        ["inputs[0].raw: expected FP32 in raw or float_values, got raw and float_values"],
    ),
    "float_values for an INT64": (
        PREDICT,
        predicting(lambda r: (r.inputs[0].ClearField("raw"), r.inputs[0].float_values.append(1.0)), "lookup",
                   {"index": np.zeros(1, np.int64)}),
        INVALID, ["inputs[0].float_values: expected INT64 in raw, got float_values"],
    ),
    "bytes in raw": (
        PREDICT,
        predicting(lambda r: (r.inputs[0].ClearField("bytes_values"), setattr(r.inputs[0], "raw", b"ab")), "echo_bytes",
                   bytes_input(b"a", b"b")),
        INVALID, ["inputs[0].raw: expected BYTES in bytes_values, got raw"],
    ),
    "bytes that are not UTF-8": (
        PREDICT, predicting(lambda r: None, "echo_bytes", bytes_input(b"ok", b"a\xff")), INVALID,
        ["inputs[0].bytes_values[1]: expected UTF-8, got byte 0xff at 1"],
    ),
    "bytes of a length that is not there": (
        MODEL_INFER,
        inferring(lambda r: r.raw_input_contents.__setitem__(0, b"\x05\0\0\0abc"), "echo_bytes",
                  bytes_input(b"a", b"")),
        INVALID, ["raw_input_contents[0]: expected 5 bytes for element 0, got 3 bytes"],
    ),
    "bytes with a tail": (
        MODEL_INFER,
        inferring(lambda r: r.raw_input_contents.__setitem__(0, r.raw_input_contents[0] + b"\0"), "echo_bytes",
                  bytes_input(b"a", b"")),
        INVALID, ["raw_input_contents[0]: expected a length of 4 bytes in front of each element, got 1 bytes"],
    ),
    "bytes, one too few": (
        MODEL_INFER,
        inferring(lambda r: r.raw_input_contents.__setitem__(0, b"\0\0\0\0"), "echo_bytes", bytes_input(b"a", b"")),
        INVALID, ["raw_input_contents[0]: expected 2 elements (BYTES [1, 2]), got 1 elements"],
    ),
    "inputs of different rows": (
        PREDICT, predicting(fewer_rows, "mixed", MIXED), INVALID,
        ["inputs[1].shape: expected 2 rows, as inputs[0] has, got 1 rows"],
    ),
    "inputs of different rows, raw": (
        MODEL_INFER, inferring(fewer_rows, "mixed", MIXED), INVALID, ["inputs[1].shape: expected 2 rows"],
    ),
    "an output unknown": (
        PREDICT, predicting(lambda r: r.outputs.append("x")), INVALID,
        ['outputs[0]: expected one of "scores", got "x"'],
    ),
    "an output unknown, infer": (
        MODEL_INFER, inferring(lambda r: r.outputs.add(name="")), INVALID,
        ['outputs[0].name: expected one of "scores", got ""'],
    ),
    "an output twice": (
        PREDICT, predicting(lambda r: r.outputs.extend(["scores", "scores"])), INVALID,
        ["outputs[1]: expected each output once"],
    ),
    "dimensions that do not agree": (
        PREDICT,
        predicting(lambda r: None, "dynamic", {"a": np.zeros((2, 3), np.float32), "b": np.zeros((4, 5), np.float32)}),
        INVALID, ["inputs: expected values that the model can compute", "Check shapes"],
    ),
    "an index out of range": (
        PREDICT, predicting(lambda r: None, "lookup", {"index": np.array([0, 9])}), INVALID,
        ["inputs: expected values that the model can compute", "out of"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_naming_the_field(served: Served, case: str) -> None:
    path, message, code, texts = CASES[case]
    with pytest.raises(grpc.RpcError) as caught:
        served.call(path, message)
    assert caught.value.code() is code, caught.value.details()
    for text in texts:
        assert text in caught.value.details()
    assert len(caught.value.details()) <= 1024


def test_a_connection_serves_on_after_every_bad_input(served: Served) -> None:
    good = predicting(lambda _: None)
    with served.worker.channel() as channel:
        call = channel.unary_unary(PREDICT)
        expected = call(good, timeout=20)
        pending = [channel.unary_unary(path).future(message, timeout=20) for path, message, *_ in CASES.values()]
        neighbours = [call.future(good, timeout=20) for _ in range(20)]
        assert {neighbour.result() for neighbour in neighbours} == {expected}
        assert [future.code() for future in pending] == [code for _, _, code, _ in CASES.values()]


def test_random_bytes_are_refused_one_by_one(served: Served) -> None:
    rng = np.random.default_rng(17)
    with served.worker.channel() as channel:
        for path in (PREDICT, MODEL_INFER):
            call = channel.unary_unary(path)
            for _ in range(10):  # not all at once: a slow machine would refuse some for being too many
                pending = [call.future(rng.bytes(int(rng.integers(1, 200))), timeout=20) for _ in range(30)]
                assert {future.code() for future in pending} <= {INVALID, NOT_FOUND}
        assert served.call(PREDICT, predicting(lambda _: None))
