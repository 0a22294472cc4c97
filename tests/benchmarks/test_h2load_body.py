"""Bodies for h2load are what a gRPC client would have sent, and the plain server answers them."""

from __future__ import annotations

import struct
from pathlib import Path

import grpc
import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.h2load_body import (
    MODEL_INFER_PATH,
    PREDICT_PATH,
    expected_body_bytes,
    framed,
    infer_message,
    predict_message,
    write_bodies,
)
from benchmarks.models import mlp_model
from benchmarks.servers import plain_command, served
from protos.inference import grpc_service_pb2 as oip
from protos.roost.v1 import predict_pb2 as v1

ROWS = np.random.default_rng(1).standard_normal((3, 32)).astype(np.float32)


def test_a_frame_is_flag_zero_length_and_message():
    assert framed(b"abc") == b"\0\0\0\0\3abc"
    assert framed(b"") == b"\0\0\0\0\0"


def test_both_bodies_hold_the_rows_whatever_their_byte_order(tmp_path: Path):
    files = write_bodies(tmp_path, "mlp", {"features": ROWS.astype(">f4")})
    messages = {path: file.read_bytes() for path, file in files.items()}
    for body in messages.values():
        assert struct.unpack(">BI", body[:5]) == (0, len(body) - 5)
    predict = v1.PredictRequest.FromString(messages[PREDICT_PATH][5:])
    infer = oip.ModelInferRequest.FromString(messages[MODEL_INFER_PATH][5:])
    assert predict.inputs[0].raw == infer.raw_input_contents[0] == ROWS.tobytes()
    assert list(predict.inputs[0].shape) == list(infer.inputs[0].shape) == [3, 32]


def test_an_input_that_has_no_datatype_is_refused_by_name():
    with pytest.raises(ValueError, match=r"inputs\['when'\].*got datetime64"):
        predict_message("mlp", {"when": np.array(["2020-01-01"], "datetime64[D]")})


def test_the_plain_server_answers_both_messages_with_bare_onnx_runtimes_scores(tmp_path: Path):
    file = tmp_path / "mlp.onnx"
    file.write_bytes(mlp_model())
    scores = ort.InferenceSession(str(file)).run(None, {"features": ROWS})[0].tobytes()
    with served(plain_command({"mlp": file}), tmp_path) as server, grpc.insecure_channel(server.target) as channel:
        predict = channel.unary_unary(PREDICT_PATH)(predict_message("mlp", {"features": ROWS}))
        infer = channel.unary_unary(MODEL_INFER_PATH)(infer_message("mlp", {"features": ROWS}))
    assert v1.PredictReply.FromString(predict).outputs[0].raw == scores
    assert oip.ModelInferResponse.FromString(infer).raw_output_contents[0] == scores
    assert expected_body_bytes(len(predict), 10) == 10 * len(framed(predict))


def test_a_server_that_cannot_start_is_reported_with_its_own_words(tmp_path: Path):
    command = plain_command({"mlp": tmp_path / "nothing.onnx"})
    with pytest.raises(RuntimeError, match=r"(?s)ended with code .*nothing\.onnx"), served(command, tmp_path):
        pass
