"""The journal: what was decided, and why, as lines that can't be changed unseen.

Each line is canonical JSON with its number, the digest of the line before, and its own. Pure on bytes; whoever has the
file appends what `next_line` gives and keeps the head somewhere else. Always: a line that was edited, removed, moved or
cut off in the middle is found by `verify`, and so is a tail that is missing, where the head is known from elsewhere.
Only an unfinished last line, which a crash leaves, is mended: `repaired` drops it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

FORMAT: Final = 1
GENESIS: Final = "0" * 64
LINE_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True)
class Head:
    """The end of a journal: how many lines, and the last one's digest."""

    number: int = 0
    digest: str = GENESIS

    def __str__(self) -> str:
        return f"{self.number}:{self.digest}"


@dataclass(frozen=True)
class Line:
    number: int
    digest: str
    entry: Mapping[str, Any]


class BrokenJournal(ValueError):
    """Where it breaks and how. `line` is the number of the first line that is not what it should be."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(f"journal: line {line}: {what}")
        self.line = line


def encode(document: object) -> bytes:
    """Canonical JSON: sorted keys, no white space, no NaN."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def next_line(head: Head, entry: Mapping[str, Any]) -> tuple[bytes, Head]:
    """The line for an entry behind `head`, newline included, and the head that it makes."""
    content = {"entry": entry, "format": FORMAT, "number": head.number + 1, "previous": head.digest}
    digest = hashlib.sha256(encode(content)).hexdigest()
    line = encode({**content, "digest": digest}) + b"\n"
    assert len(line) <= LINE_BYTES_MAX, len(line)
    return line, Head(head.number + 1, digest)


def verify(data: bytes, anchor: Head | None = None) -> Head:
    """The head of a whole journal. Raises BrokenJournal, also where it is shorter than, or another than, `anchor`."""
    head = Head()
    anchored = anchor is None or anchor.number == 0
    for line in read(data):
        head = Head(line.number, line.digest)
        if anchor is not None and line.number == anchor.number:
            if line.digest != anchor.digest:
                raise BrokenJournal(
                    line.number, f"expected digest {anchor.digest[:12]}, as the anchor says, got another"
                )
            anchored = True
    if not anchored:
        assert anchor is not None
        raise BrokenJournal(head.number + 1, f"expected {anchor.number} lines, as the anchor says, got {head.number}")
    return head


def read(data: bytes) -> Iterator[Line]:
    """All lines, each checked against the one before. Raises BrokenJournal at the first that does not fit."""
    if data and not data.endswith(b"\n"):
        # Told only when the lines before it are whole.
        data, tail = data[: data.rfind(b"\n") + 1], True
    else:
        tail = False
    head = Head()
    for raw in data.splitlines(keepends=True):
        line = _read_line(raw.removesuffix(b"\n"), head)
        yield line
        head = Head(line.number, line.digest)
    if tail:
        raise BrokenJournal(head.number + 1, "expected a whole line, got one that was cut off, as a crash does")


def repaired(data: bytes) -> tuple[bytes, bool]:
    """The journal without an unfinished last line, and whether there was one. Nothing else is mended."""
    if not data or data.endswith(b"\n"):
        return data, False
    return data[: data.rfind(b"\n") + 1], True


def serving_at(lines: Iterable[Line], model: str, at_utc: str) -> Mapping[str, Any] | None:
    """The entry whose `to` is what a model served at a moment, or None where nothing is known of it.

    at_utc: ISO 8601, UTC where it names no zone; else ValueError. Where the wall clock was set back, the later entry
    is the one that counts.
    """
    moment = _moment(at_utc)
    found = None
    for line in lines:
        entry = line.entry
        if entry.get("model") == model and "to" in entry and _moment(str(entry["at_utc"])) <= moment:
            found = entry
    return found


def _moment(at_utc: str) -> datetime:
    try:
        moment = datetime.fromisoformat(at_utc)
    except ValueError:
        raise ValueError(f"at_utc: expected a time like 2026-01-31T14:03:00Z, got {at_utc!r:.40}.") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _read_line(raw: bytes, head: Head) -> Line:
    number = head.number + 1
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise BrokenJournal(number, "expected JSON, got something else") from None
    if not isinstance(document, dict) or set(document) != {"entry", "format", "number", "previous", "digest"}:
        raise BrokenJournal(number, "expected entry, format, number, previous and digest, got other keys")
    if document["format"] != FORMAT:
        raise BrokenJournal(number, f"expected format {FORMAT}, got {document['format']!r:.40}")
    if document["number"] != number:
        raise BrokenJournal(
            number, f"expected number {number}, got {document['number']!r:.40}: lines are gone or moved"
        )
    if document["previous"] != head.digest:
        raise BrokenJournal(number, "expected the digest of the line before, got another: it was changed or removed")
    digest = document.pop("digest")
    try:
        canonical, own = encode({**document, "digest": digest}), hashlib.sha256(encode(document)).hexdigest()
    except ValueError:  # NaN, or half a surrogate pair: read, but never written
        raise BrokenJournal(number, "expected canonical JSON, got values that it has no word for") from None
    if digest != own:
        raise BrokenJournal(number, "expected its own digest, got another: it was changed")
    if raw != canonical:
        raise BrokenJournal(number, "expected canonical JSON, got another spelling of it")
    return Line(number, digest, document["entry"])
