"""Refusal: why a stage stopped, in one line that names the field and says what to do.

Raised by every stage; the command line prints it and ends with exit code 1. Always: nothing of a stage that refused is
left behind where the next stage would find it.
"""

from __future__ import annotations


class Refusal(Exception):
    """table: lines to show below the message, such as the gates that failed; none where one line says it all."""

    def __init__(self, field: str, *, expected: str, got: str, hint: str, table: tuple[str, ...] = ()) -> None:
        self.field, self.expected, self.got, self.hint, self.table = field, expected, got, hint, table
        message = f"{field}: expected {expected}, got {got}. {hint}"
        super().__init__("".join(char if char.isprintable() else ascii(char)[1:-1] for char in message))
