"""Logs of every process: lines for people or JSON objects, on standard error, in UTC, under one logger, `roost`.

Each process calls `start_logging` once; modules use `logging.getLogger("roost.<room>")` and hand facts over by
`extra={"fields": {...}}`, so that both formats show them. Always: one event is one line, whatever its text holds, and
the value of a field whose name speaks of a secret is not written.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any, Final

from server.settings import LogSettings

SECRET_NAMES: Final = re.compile(r"secret|password|passwd|token|authorization|credential|private_key|api_?key", re.I)
URL_PASSWORD: Final = re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]+@")
CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
HIDDEN: Final = "(hidden)"
LEVEL_COLOURS: Final = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}
PLAIN: Final = "\x1b[0m"
_TRACEBACKS: Final = logging.Formatter()


def start_logging(settings: LogSettings, process: str, stream: IO[str] | None = None) -> None:
    """Sets up the logger `roost` of this process. process: "parent", "control" or "worker 0"."""
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    human = settings.format == "human"
    handler.setFormatter(HumanLines(process, out.isatty()) if human else JsonLines(process))
    logger = logging.getLogger("roost")
    logger.handlers[:] = [handler]
    logger.setLevel(settings.level.upper())
    logger.propagate = False


class HumanLines(logging.Formatter):
    """Time, process, message and fields on one line; the level only where it is not INFO."""

    def __init__(self, process: str, coloured: bool) -> None:
        super().__init__()
        self._process = process
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%SZ")
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        fields = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        line = f"{at} {self._process:<9} {level}{_one_line(_message(record))}{fields}"
        colour = LEVEL_COLOURS.get(record.levelname) if self._coloured else None
        line += f" exception={_shown(_exception(record))}" if record.exc_info else ""
        return f"{colour}{line}{PLAIN}" if colour else line


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, process, logger, message, then the fields, then an exception's text."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": _message(record),
        }
        event |= {name: value for name, value in _fields(record).items() if name not in event}
        if record.exc_info:
            event["exception"] = _exception(record)
        return json.dumps(event, default=str, ensure_ascii=False)


def _message(record: logging.LogRecord) -> str:
    """The message without the password of an address, the one secret that hides in ordinary text."""
    return _without_password(record.getMessage())


def _exception(record: logging.LogRecord) -> str:
    """The traceback: each error's text in it may hold what a message may."""
    return _without_password(_TRACEBACKS.formatException(record.exc_info)) if record.exc_info else ""


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: object = getattr(record, "fields", None)
    if not isinstance(fields, Mapping):
        return {}
    return _without_secrets(fields)


def _without_secrets(fields: Mapping[Any, object]) -> dict[str, object]:
    return {
        str(name): HIDDEN if SECRET_NAMES.search(str(name)) else _shown_value(value) for name, value in fields.items()
    }


def _shown_value(value: object) -> object:
    """Numbers as they are, mappings and sequences with their own values cleaned, all else as clean text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return _without_secrets(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown_value(one) for one in value]
    return _without_password(str(value))


def _without_password(text: str) -> str:
    return URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)


def _one_line(text: str) -> str:
    """A line break inside a message would let a caller write log lines of his own; an escape, steer a terminal."""
    return CONTROL_CHARACTERS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def _shown(value: object) -> str:
    text = _one_line(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or re.search(r"[\s\"=]", text) else text
