"""What a call can fail with: a gRPC status and one line that tells the caller what to do next.

Raised by servicers, models and the batcher; turned into `grpc-status` and `grpc-message` by the listeners, which also
percent-encode. Always: a message is one line of at most MESSAGE_CHARS_MAX characters, whatever the caller sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from enum import IntEnum

MESSAGE_CHARS_MAX = 1024
QUOTED_CHARS_MAX = 80
LISTED_NAMES_MAX = 16

log = logging.getLogger("roost.worker")


class Code(IntEnum):
    """Status codes of gRPC, under their wire numbers."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


def one_line(text: str, chars_max: int) -> str:
    """`text` with anything that could break a line, a log or a header replaced, cut to `chars_max`."""
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[: chars_max + 1])
    return shown if len(shown) <= chars_max else shown[: chars_max - 3] + "..."


def quoted(text: str) -> str:
    """A caller's string as it may appear in a message: in double quotes, printable, bounded."""
    return f'"{one_line(text, QUOTED_CHARS_MAX)}"'


def listed(names: Iterable[str]) -> str:
    """Names as a bounded list: `"a", "b" and 3 more`."""
    every = list(names)
    shown = ", ".join(quoted(name) for name in every[:LISTED_NAMES_MAX])
    rest = len(every) - LISTED_NAMES_MAX
    return f"{shown} and {rest} more" if rest > 0 else shown


class StatusError(Exception):
    """A call's failure. `code` goes into `grpc-status`, `message` into `grpc-message`."""

    def __init__(self, code: int, message: str) -> None:
        self.code = Code(code)
        self.message = one_line(message, MESSAGE_CHARS_MAX)
        super().__init__(f"{self.code.name}: {self.message}")


class FieldError(StatusError):
    """A failure that one field of the request explains: what was expected there, what came, what to do."""

    status = Code.INVALID_ARGUMENT

    def __init__(self, field: str, expected: str, got: str, hint: str) -> None:
        self.field = field
        super().__init__(self.status, f"{field}: expected {expected}, got {got}. {hint}")


class BadInput(FieldError):
    """The request cannot be served as it stands, by this or any other server of the same model."""


class NotFound(FieldError):
    """The request names something that is not served here."""

    status = Code.NOT_FOUND


def deadline_exceeded(when: str) -> StatusError:
    """when: where the request was as its time ran out ("before it was run")."""
    return StatusError(
        Code.DEADLINE_EXCEEDED,
        f"grpc-timeout: the deadline passed {when}. Allow more time, or send fewer rows in a call.",
    )


def unknown_method(path: str, known: Iterable[str]) -> StatusError:
    """The answer to a `:path` that names no method: the same text from both listeners."""
    return StatusError(
        Code.UNIMPLEMENTED,
        f"method: expected one of {', '.join(sorted(known))}, got {quoted(path)}. Check the service.",
    )


def status_of(failure: Exception) -> StatusError:
    """What a caller is told of a run that failed. An error that is our own is logged, not told."""
    if isinstance(failure, StatusError):
        return failure
    log.error("a batch failed by an error of the server's own", exc_info=failure)
    return StatusError(Code.INTERNAL, "model: its run failed by an error of the server's own. Its log has the details.")
