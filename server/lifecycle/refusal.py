"""A request that can't be carried out: what was asked of which field, and what to do instead."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Why(StrEnum):
    """Under gRPC's names, since that is how it is told."""

    NOT_FOUND = "NOT_FOUND"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True)
class Refused(Exception):
    """`str` of it is one line: the field, what was expected, what came, what to do."""

    why: Why
    field: str
    expected: str
    got: str
    hint: str

    def __str__(self) -> str:
        return f"{self.field}: expected {self.expected}, got {self.got}. {self.hint}"


class StaleRevision(Exception):
    """An operator's precondition does not hold."""

    def __init__(self, expected: int, current: int) -> None:
        super().__init__(f"expected revision {expected}, is {current}")
        self.expected, self.current = expected, current
