"""Refusals of the operators' service: a status, and a message that names the field and what to do.

Raised anywhere below a call, turned into its status by the servicer. Always: the message is one printable line of at
most TEXT_MAX characters, whatever came in.
"""

from __future__ import annotations

from typing import Final

import grpc

TEXT_MAX: Final = 1000
SHOWN_MAX: Final = 80


class OperationRefused(Exception):
    """Nothing was changed. `str()` of it is the status' message."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self.code = code
        line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in message)
        super().__init__(line if len(line) <= TEXT_MAX else line[: TEXT_MAX - 3] + "...")


def refused(code: grpc.StatusCode, field: str, *, expected: str, got: str, hint: str) -> OperationRefused:
    return OperationRefused(code, f"{field}: expected {expected}, got {got}. {hint}")


def bad_field(field: str, *, expected: str, got: str, hint: str) -> OperationRefused:
    """INVALID_ARGUMENT."""
    return refused(grpc.StatusCode.INVALID_ARGUMENT, field, expected=expected, got=got, hint=hint)


def shown(text: str) -> str:
    """What came in, quoted and cut."""
    return repr(text) if len(text) <= SHOWN_MAX else repr(text[:SHOWN_MAX]) + "..."
