"""A card's page taken apart: what it tells and from where, as tests walk it. Pictures and style are left out."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any


class WalkedCard(HTMLParser):
    """told: (pointer, text) of each value. keys: (pointer, text) where the pointer's own last steps are the text.

    rows: texts of all cells by row, heads too. literals: all other texts.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []
        self.keys: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.literals: list[str] = []
        self._into: list[tuple[str, str]] | None = None
        self._in_cell = False
        self.feed(re.sub(r"<(head|svg)\b.*?</\1>", "", page, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "span":
            self._into = self.told if "data-from" in attributes else self.keys
            self._into.append((attributes.get("data-from") or attributes.get("data-key-of") or "", ""))
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "span":
            self._into = None
        elif tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data
        if self._into is not None:
            pointer, text = self._into[-1]
            self._into[-1] = (pointer, text + data)
        elif data.strip():
            self.literals.append(data.strip())


def value_at(documents: dict[str, Any], pointer: str) -> Any:
    """What stands at `FILE#/STEP/STEP`, as RFC 6901 reads it."""
    file, _, path = pointer.partition("#/")
    found = documents[file]
    for step in path.split("/"):
        found = found[int(step)] if isinstance(found, list) else found[step.replace("~1", "/").replace("~0", "~")]
    return found


def unescaped(cell: str) -> str:
    """A cell of a Markdown table as it is read."""
    return re.sub(r"\\(.)", r"\1", cell)
