"""What a server and its models say of themselves, over the Open Inference Protocol's `inference` service.

Used by both clients, and loaded at the first question only. Always: the protocol's messages live in a descriptor pool
of their own. Other clients register the same names under another file, and protobuf ends the import of whichever comes
second into the shared pool; this way both fit into one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"


@dataclass(frozen=True)
class TensorMetadata:
    """One input or output. shape: -1 stands for a dimension of any size (rows come first); () is a scalar."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """What a model takes and gives. properties: the server's remarks on it, such as whether its rows are batched."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    properties: Mapping[str, str]


@dataclass(frozen=True)
class ServerMetadata:
    """Name and version of the server software, and the protocol extensions that it speaks."""

    name: str
    version: str
    extensions: tuple[str, ...]


@cache
def message_class(name: str) -> Any:
    """The class of the protocol's message `name`, as in "ModelMetadataRequest"."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"inference.{name}"))


def model_metadata_of(response: Any) -> ModelMetadata:
    """The metadata that a ModelMetadataResponse holds."""
    return ModelMetadata(
        name=response.name,
        versions=tuple(response.versions),
        platform=response.platform,
        inputs=_tensors(response.inputs),
        outputs=_tensors(response.outputs),
        properties=dict(response.properties),
    )


def server_metadata_of(response: Any) -> ServerMetadata:
    """The metadata that a ServerMetadataResponse holds."""
    return ServerMetadata(response.name, response.version, tuple(response.extensions))


def _tensors(tensors: Any) -> tuple[TensorMetadata, ...]:
    return tuple(TensorMetadata(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in tensors)


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    # The file is what protoc's --descriptor_set_out makes of inference/grpc_service.proto.
    described = descriptor_pb2.FileDescriptorSet.FromString(files("roost").joinpath("inference.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in described.file:
        pool.Add(file)
    return pool
