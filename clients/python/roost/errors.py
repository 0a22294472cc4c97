"""What a call can raise: one class for each thing a caller would do about it.

Raised by both clients. Always: `str(error)` is the server's own message (or, for what the client refuses itself, a
message of the same form: field, expected, got, what to do), and `error.code` is the gRPC status.
"""

from __future__ import annotations

import grpc


class RoostError(Exception):
    """Base of all errors of this package. `code`: the gRPC status; `message`: what the server said."""

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return self.message


class InvalidInput(RoostError, ValueError):
    """INVALID_ARGUMENT or OUT_OF_RANGE: the request itself is wrong, and will be wrong again."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class ModelNotFound(RoostError, LookupError):
    """NOT_FOUND: no such model, or no such version of it, is served here."""

    code = grpc.StatusCode.NOT_FOUND


class DeadlineExceeded(RoostError, TimeoutError):
    """DEADLINE_EXCEEDED: no answer within the call's time. The server may have done the work."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Overloaded(RoostError):
    """RESOURCE_EXHAUSTED: a bound was met, the server's queue or a message's size. The message says which.

    Call again later and slower where it was the queue; send fewer rows at a time where it was the size.
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(RoostError, ConnectionError):
    """UNAVAILABLE: nobody answers at the target, or the server is draining. It was retried already."""

    code = grpc.StatusCode.UNAVAILABLE


class Unimplemented(RoostError):
    """UNIMPLEMENTED: the server does not know this method: it is another kind of server, or an older one."""

    code = grpc.StatusCode.UNIMPLEMENTED


class NotReady(RoostError):
    """FAILED_PRECONDITION: the model is known, but is not in a state to answer."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class PermissionDenied(RoostError, PermissionError):
    """PERMISSION_DENIED or UNAUTHENTICATED: the server refuses this caller."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Cancelled(RoostError):
    """CANCELLED by the server or by closing the client. A cancelled asyncio task gets `asyncio.CancelledError`."""

    code = grpc.StatusCode.CANCELLED


class ServerError(RoostError):
    """INTERNAL, UNKNOWN, DATA_LOSS, ABORTED or ALREADY_EXISTS: the server failed. Report it with the message."""

    code = grpc.StatusCode.INTERNAL


class BadReply(RoostError):
    """The server answered OK with something that is no valid reply: versions that do not match, or a fault."""

    code = grpc.StatusCode.INTERNAL


_CLASSES: dict[grpc.StatusCode, type[RoostError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: InvalidInput,
    grpc.StatusCode.NOT_FOUND: ModelNotFound,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.FAILED_PRECONDITION: NotReady,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: PermissionDenied,
    grpc.StatusCode.CANCELLED: Cancelled,
}


def of_status(code: grpc.StatusCode, message: str | None) -> RoostError:
    """The error for a gRPC status other than OK, with the server's message (its status name where it sent none)."""
    return _CLASSES.get(code, ServerError)(message or code.name, code)


def of_call(error: grpc.RpcError) -> RoostError:
    """The error for what grpcio raised: both its kinds, blocking and asyncio, carry code and details."""
    return of_status(error.code(), error.details())
