"""Logs: one event a line, UTC, and no secret in it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from server.logs import start_logging
from server.settings import LogSettings

log = logging.getLogger("roost.test")


@pytest.fixture(autouse=True)
def leave_logging_as_it_was() -> Iterator[None]:
    logger = logging.getLogger("roost")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logger.propagate = propagate


def started(format: str = "json", level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    start_logging(LogSettings.model_validate({"format": format, "level": level}), "worker 0", stream)
    return stream


def test_a_json_line_has_time_level_process_message_and_fields() -> None:
    stream = started()
    log.warning("ended %s", "unasked", extra={"fields": {"exit": 3}})
    event = json.loads(stream.getvalue())
    assert event.pop("at").endswith("Z")
    assert event == {
        "level": "warning",
        "process": "worker 0",
        "logger": "roost.test",
        "message": "ended unasked",
        "exit": 3,
    }


def test_a_human_line_shows_the_same() -> None:
    stream = started("human")
    log.error("ended", extra={"fields": {"exit": 3, "reason": "no memory"}})
    assert stream.getvalue().endswith('Z worker 0  error: ended exit=3 reason="no memory"\n')
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("format", ["human", "json"])
def test_an_event_is_one_line_whatever_its_text_holds(format: str) -> None:
    stream = started(format)
    log.info("bad name: a\nroost: forged\r\x1b[2J", extra={"fields": {"name": "x\ny\x1b[2J"}})
    assert stream.getvalue().count("\n") == 1
    assert not {"\r", "\x1b"} & set(stream.getvalue())


@pytest.mark.parametrize("format", ["human", "json"])
@pytest.mark.parametrize("name", ["password", "api_key", "Authorization", "registry_token", "client_secret"])
def test_a_field_whose_name_speaks_of_a_secret_is_hidden(format: str, name: str) -> None:
    stream = started(format)
    log.info("connected", extra={"fields": {name: "hunter2"}})
    assert "hunter2" not in stream.getvalue()
    assert "(hidden)" in stream.getvalue()


@pytest.mark.parametrize("format", ["human", "json"])
def test_the_password_of_an_address_is_hidden(format: str) -> None:
    stream = started(format)
    log.info("registry at https://me:hunter2@host/path", extra={"fields": {"at": "http://me:hunter2@host"}})
    assert "hunter2" not in stream.getvalue()
    assert "host/path" in stream.getvalue()


def test_a_field_cannot_replace_the_time_or_the_level() -> None:
    stream = started()
    log.info("x", extra={"fields": {"level": "none", "at": "never"}})
    event = json.loads(stream.getvalue())
    assert event["level"] == "info"
    assert event["at"] != "never"


def test_an_exception_is_part_of_its_event() -> None:
    stream = started()
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        log.exception("failed")
    assert "RuntimeError: broken" in json.loads(stream.getvalue())["exception"]


@pytest.mark.parametrize("format", ["human", "json"])
def test_an_exception_stays_on_the_line_of_its_event_and_hides_a_password_too(format: str) -> None:
    stream = started(format)
    try:
        raise RuntimeError("no answer from http://me:hunter2@host/path\nroost: forged\x1b[2J")
    except RuntimeError:
        log.exception("failed")
    assert stream.getvalue().count("\n") == 1
    assert "hunter2" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert "host/path" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue(), "the place where it was raised"


@pytest.mark.parametrize("format", ["human", "json"])
@pytest.mark.parametrize(
    "value",
    [
        {"user": "me", "password": "hunter2"},
        [{"inner": {"api_key": "hunter2"}}],
        ("http://me:hunter2@host",),
        ConnectionError("http://me:hunter2@host"),
    ],
    ids=["mapping", "deep", "sequence", "exception"],
)
def test_a_secret_inside_a_fields_value_is_hidden(format: str, value: object) -> None:
    stream = started(format)
    log.info("connected", extra={"fields": {"to": value}})
    assert "hunter2" not in stream.getvalue()
    assert "(hidden)" in stream.getvalue()


def test_what_is_below_the_level_is_not_written() -> None:
    stream = started(level="warning")
    log.info("chatter")
    assert stream.getvalue() == ""
