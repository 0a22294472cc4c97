"""A health probe for an image: asks a server for its gRPC health, and says the answer by exit code.

`python -m server.probe HOST:PORT [SERVICE]`: 0 where it serves, 1 where it does not, 2 where the call was made wrongly.
Used by the Dockerfile's HEALTHCHECK; loads grpcio and nothing of the server's, so that it may run every few seconds.
"""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 2.0
USAGE = "usage: python -m server.probe HOST:PORT [SERVICE]"


def main(arguments: list[str]) -> int:
    """Exit code for the arguments; one line on standard error when it is not 0."""
    if len(arguments) not in (1, 2):
        print(USAGE, file=sys.stderr)
        return 2
    target, service = arguments[0], "".join(arguments[1:])
    try:
        with grpc.insecure_channel(target) as channel:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S
            )
    except grpc.RpcError as error:
        print(f"{target}: expected a gRPC health answer, got {error.code().name}: {error.details()}", file=sys.stderr)
        return 1
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)
    if status == "SERVING":
        return 0
    print(f"{target}: expected SERVING, got {status}.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
