"""The methods beside prediction, what replies say about the model, and what is no method."""

from __future__ import annotations

import hashlib

import grpc
import numpy as np
import pytest

from protos.inference import grpc_service_pb2 as inference
from protos.roost.v1 import predict_pb2
from tests.behaviour.conftest import Served
from tests.behaviour.messages import infer_request, predict_request

ROW = {"features": np.zeros((1, 32), np.float32)}


def digest_prefix(served: Served, model: str) -> str:
    return hashlib.sha256(served.paths[model].read_bytes()).hexdigest()[:12]


def test_the_server_is_live_and_ready(served: Served) -> None:
    assert served.inference.ServerLive(inference.ServerLiveRequest(), timeout=20).live
    assert served.inference.ServerReady(inference.ServerReadyRequest(), timeout=20).ready
    assert served.inference.ModelReady(inference.ModelReadyRequest(name="mlp"), timeout=20).ready
    assert served.inference.ModelReady(inference.ModelReadyRequest(name="mlp", version="0"), timeout=20).ready


def test_the_server_names_itself(served: Served) -> None:
    metadata = served.inference.ServerMetadata(inference.ServerMetadataRequest(), timeout=20)
    assert metadata.name == "roost"
    assert metadata.version


def test_a_models_metadata_is_its_signature(served: Served) -> None:
    metadata = served.inference.ModelMetadata(inference.ModelMetadataRequest(name="mixed"), timeout=20)
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("mixed", ["0"], "onnxruntime_onnx")
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [
        ("a", "FP32", [-1, 3]),
        ("b", "INT64", [-1, 1]),
    ]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("sum", "FP32", [-1, 3]),
        ("product", "FP32", [-1, 3]),
        ("next", "INT64", [-1, 1]),
    ]
    assert metadata.properties["digest"].startswith(digest_prefix(served, "mixed"))
    assert metadata.properties["variant"] == "stable"


@pytest.mark.parametrize("version", ["", "0"])
def test_a_prediction_names_who_answered(served: Served, version: str) -> None:
    reply = served.predict(predict_request("mlp", ROW, version=version), timeout=20)
    assert (reply.model, reply.version, reply.variant) == ("mlp", "0", "stable")
    assert reply.digest_prefix == digest_prefix(served, "mlp")
    assert reply.prediction_id == ""


@pytest.mark.parametrize("request_id", ["", "id-1", "\u00e9\u4e2d", "x" * 5000])
def test_an_inference_names_who_answered_and_echoes_its_id(served: Served, request_id: str) -> None:
    reply = served.inference.ModelInfer(infer_request("mlp", ROW, id=request_id), timeout=20)
    assert (reply.model_name, reply.model_version, reply.id) == ("mlp", "0", request_id)
    assert {key: value.string_param for key, value in reply.parameters.items()} == {
        "digest_prefix": digest_prefix(served, "mlp"),
        "variant": "stable",
    }


def test_parameters_of_a_request_are_ignored(served: Served) -> None:
    request = infer_request("mlp", ROW)
    request.parameters["priority"].int64_param = 3
    request.inputs[0].parameters["shared_memory_region"].string_param = "x"
    request.outputs.add(name="scores").parameters["classification"].int64_param = 2
    assert len(served.inference.ModelInfer(request, timeout=20).raw_output_contents[0]) == 8


def test_a_routing_key_changes_no_answer(served: Served) -> None:
    plain = served.predict(predict_request("mlp", ROW), timeout=20)
    assert served.predict(predict_request("mlp", ROW, routing_key="user-7"), timeout=20) == plain


@pytest.mark.parametrize(
    "path",
    ["/roost.v1.Prediction/predict", "/roost.v1.Prediction/Predict/", "/x/y", "/inference.GRPCInferenceService/", "/"],
)
def test_a_path_that_is_no_method_is_unimplemented_and_named(served: Served, path: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        served.call(path, predict_pb2.PredictRequest(model="mlp").SerializeToString())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert f'"{path}"' in caught.value.details()
    assert "/roost.v1.Prediction/Predict" in caught.value.details()
