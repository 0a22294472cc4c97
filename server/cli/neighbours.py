"""Who holds a port: a Roost server that runs on this machine, or somebody else.

Used by `roost doctor`, so that it does not take a server for what keeps the server from starting. Always: asks in
Roost's own words, each port in its own, and for at most ASK_TIMEOUT_S; any other answer is somebody else's.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Final

ASK_TIMEOUT_S: Final = 2.0
ANSWER_BYTES_MAX: Final = 65_536
OWN_NAME: Final = "roost"  # in ServerMetadata


def is_roost(key: str, address: str) -> bool:
    """key: of the setting that has the address: server.listen, server.http or server.admin."""
    return {"server.listen": _predicts, "server.http": _shows, "server.admin": _is_operated}[key](address)


def _shows(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/health/ready", timeout=ASK_TIMEOUT_S) as answer:
            content = answer.read(ANSWER_BYTES_MAX)
    except urllib.error.HTTPError as error:  # 503: it runs, and is not ready
        content = error.read(ANSWER_BYTES_MAX)
    except (OSError, ValueError, HTTPException):
        return False
    try:
        document = json.loads(content)
    except ValueError:
        return False
    return isinstance(document, dict) and {"ready", "reasons", "workers"} <= set(document)


def _predicts(address: str) -> bool:
    import grpc

    from protos.inference import grpc_service_pb2, grpc_service_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            answer = stub.ServerMetadata(grpc_service_pb2.ServerMetadataRequest(), timeout=ASK_TIMEOUT_S)
        except grpc.RpcError:
            return False
    return bool(answer.name == OWN_NAME)


def _is_operated(address: str) -> bool:
    import grpc

    from protos.roost.v1 import admin_pb2, admin_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]
        try:
            stub.ListModels(admin_pb2.ListModelsRequest(), timeout=ASK_TIMEOUT_S)
        except grpc.RpcError:
            return False
    return True
