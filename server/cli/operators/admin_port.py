"""The admin port as the commands call it: one channel, one deadline, and endings as exit codes.

Used by `looking`, `changing` and `journal`. Always: what the server refuses is its own one line and exit code 1; where
no answer came it is said whether trying again can do harm, and the exit code is 3.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import grpc
import typer

from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from server.addresses import split_address
from server.cli.operators.options import Change, Look

EXIT_REFUSED: Final = 1
EXIT_NO_ANSWER: Final = 3
PROBE_S: Final = 3.0
REPLY_BYTES_MAX: Final = 64 << 20
# Not through a proxy that the environment names: the port is on loopback, or at the end of a tunnel.
# Said with the way home that is left: only a look at the machine tells a dead control process from a dead server.
UNREACHABLE_HINT: Final = (
    "Is the server up, and is its --admin this one? Where only its control process ended, it still serves, and starts "
    "another within seconds; `roost rollback MODEL --local` goes home without one."
)
USUAL_PORT: Final = "The admin port is 8003 unless the server's --admin says otherwise."
OPTIONS: Final = (("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", REPLY_BYTES_MAX))


class AdminPort:
    """Calls over one channel, as `connected` gives it."""

    def __init__(self, look: Look, channel: grpc.Channel) -> None:
        self._look = look
        self._stub: Any = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]

    def ask(self, method: str, request: Any) -> Any:
        """The reply to one call of `roost.v1.Admin`."""
        try:
            return getattr(self._stub, method)(request, timeout=self._look.timeout_s)
        except grpc.RpcError as error:
            self._end(error)

    def watch(self, request: admin_pb2.WatchEventsRequest) -> Any:
        """The stream of events: iterable, with `cancel`."""
        return self._stub.WatchEvents(request)

    def watching_failed(self, error: Any, last_sequence: int) -> NoReturn:
        """last_sequence: of the last event that came, 0 for none."""
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED) and not _answers(self._look.admin):
            again = f" --after {last_sequence}" if last_sequence else ""
            self._no_answer(
                f"{self._look.admin}: the control process ended, and with it the stream; serving may go on. Once there "
                f"is another: `roost events --follow{again}`; `roost journal show` has what was decided meanwhile."
            )
        self._end(error)

    def watching_ended(self) -> NoReturn:
        self._no_answer(f"{self._look.admin}: the server ended the stream of events.")

    def _end(self, error: Any) -> NoReturn:
        code, text = error.code(), error.details() or error.code().name
        address = self._look.admin
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._no_answer(f"{address}: no answer within {self._look.timeout_s:g} s.")
        if code is grpc.StatusCode.UNIMPLEMENTED:
            self._no_answer(f"{address}: expected a Roost's admin port, got another gRPC server's. {USUAL_PORT}")
        if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            if "failed to connect" in text:
                self._no_answer(f"{address}: expected an admin port, got something that speaks no gRPC. {USUAL_PORT}")
            if not _answers(address):
                self._no_answer(f"{address}: the server went away before it had answered.")
        end(EXIT_REFUSED, text)

    def _no_answer(self, text: str) -> NoReturn:
        if isinstance(self._look, Change):
            text += f" It may have been done; with --request-id {self._look.request_id} it is not done twice."
        end(EXIT_NO_ANSWER, text)


@contextmanager
def connected(look: Look, hint: str = UNREACHABLE_HINT) -> Iterator[AdminPort]:
    """The admin port of the command's --admin; exit code 3 where nobody listens there, with the hint."""
    reason = _unreachable(look.admin)
    if reason is not None:
        end(EXIT_NO_ANSWER, f"{look.admin}: expected the admin port, got none ({reason}). {hint}")
    with grpc.insecure_channel(look.admin, OPTIONS) as channel:
        yield AdminPort(look, channel)


def end(code: int, text: str) -> NoReturn:
    """One line on standard error, and the exit code."""
    print(f"roost: {text}", file=sys.stderr)
    raise typer.Exit(code)


def _answers(address: str) -> bool:
    return _unreachable(address) is None


def _unreachable(address: str) -> str | None:
    """Why no connection comes about. Asked before gRPC is, which says it in three lines and after a while."""
    try:
        socket.create_connection(split_address(address), timeout=PROBE_S).close()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None
