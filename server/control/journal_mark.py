"""A journal's mark: its head, and which journal it is the head of, as the registry's tag holds it.

Several servers may serve a model and write its tag: the first line, which no two journals share, tells whose it is.
Used by the keeper, the registry's projection and `roost journal verify`. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from server.lifecycle.journal import Head

FIRST_DIGITS: Final = 12
_TEXT: Final = re.compile(rf"([1-9][0-9]{{0,17}}):([0-9a-f]{{64}})(?::([0-9a-f]{{{FIRST_DIGITS}}}))?")


@dataclass(frozen=True)
class JournalMark:
    """first: of the first line's digest, so many digits; "" where it is not told."""

    head: Head
    first: str = ""

    def __str__(self) -> str:
        return f"{self.head}:{self.first}" if self.first else str(self.head)


def read_mark(text: str) -> JournalMark | None:
    """None for any other text."""
    match = _TEXT.fullmatch(text)
    return None if match is None else JournalMark(Head(int(match[1]), match[2]), match[3] or "")
