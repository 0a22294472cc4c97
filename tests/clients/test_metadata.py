"""What metadata messages become, and that they stay out of the pool that all of a process shares."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool

import roost
from protos.inference import grpc_service_pb2 as oip
from roost import errors, metadata


def test_a_models_metadata_keeps_every_field():
    response = oip.ModelMetadataResponse(
        name="mlp", versions=["1", "2"], platform="onnx", properties={"batching": "on"}
    )
    response.inputs.add(name="features", datatype="FP32", shape=[-1, 32])
    response.outputs.add(name="scale", datatype="FP64")
    ours = metadata.message_class("ModelMetadataResponse").FromString(response.SerializeToString())
    assert metadata.model_metadata_of(ours) == roost.ModelMetadata(
        name="mlp",
        versions=("1", "2"),
        platform="onnx",
        inputs=(roost.TensorMetadata("features", "FP32", (-1, 32)),),
        outputs=(roost.TensorMetadata("scale", "FP64", ()),),
        properties={"batching": "on"},
    )


def test_a_servers_metadata_keeps_every_field():
    response = metadata.message_class("ServerMetadataResponse")(name="roost", version="0.1.0", extensions=["a"])
    assert metadata.server_metadata_of(response) == roost.ServerMetadata("roost", "0.1.0", ("a",))


def test_the_messages_are_not_those_of_the_shared_pool():
    ours = metadata.message_class("ModelMetadataRequest")
    assert ours.DESCRIPTOR.file.pool is not descriptor_pool.Default()
    assert ours is not oip.ModelMetadataRequest


def test_a_server_without_the_inference_service_is_unimplemented(scripted):
    with roost.Client(scripted.target) as client:
        for ask in (client.is_live, client.is_ready, client.server_metadata, lambda: client.model_metadata("mlp")):
            with pytest.raises(errors.Unimplemented) as raised:
                ask()
            assert raised.value.code is grpc.StatusCode.UNIMPLEMENTED
        client.predict("mlp", {"x": np.zeros(1)})
