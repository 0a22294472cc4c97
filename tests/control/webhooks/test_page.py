"""docs/reference/webhooks.md says what the room does."""

import json
import re
import tomllib
from pathlib import Path

from server.cli.parent import CONTROL_STOP_S
from server.control.webhooks.delivery import DETAIL_BYTES_MAX, IMPORTANCE, TEXT_CHARACTERS_MAX, document
from server.control.webhooks.receiver import FAILURES_BEFORE_ALERT
from server.control.webhooks.signing import ID_HEADER, KEY_BYTES_MIN, SIGNATURE_HEADER, TIMESTAMP_HEADER
from server.control.webhooks.waiting import (
    ASKED_WAIT_S_MAX,
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    NEWS_WAIT_S,
    RESTORED_S_MIN,
    Drop,
)
from server.control.webhooks.webhooks import KEEP_WAIT_S, STOP_WAIT_S
from server.settings import Settings
from tests.control.webhooks.page import PAGE

METRICS = (Path(__file__).resolve().parents[3] / "docs/reference/metrics.md").read_text()


def rows_of(header: str) -> list[tuple[str, ...]]:
    """The rows of the table with this header."""
    table = PAGE.split(f"{header}\n", 1)[1].split("\n\n", 1)[0]
    return [tuple(cell.strip(" `") for cell in line.strip("|").split("|")) for line in table.splitlines()[1:]]


def test_every_kind_is_listed_with_its_importance() -> None:
    listed = {kind: int(importance) for kind, _, importance in rows_of("| kind | what happened | importance |")}
    assert listed == dict(IMPORTANCE)


def test_the_example_of_a_document_has_the_keys_that_are_sent_and_every_key_is_explained() -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    shown = json.loads(block)
    sent = json.loads(document("x", shown["time"], "rollback", "m", "t", {}))
    assert list(shown) == list(sent) == [key for key, _ in rows_of("| key | meaning |")]


def test_the_headers_are_listed() -> None:
    assert [name for name, _ in rows_of("| header | content |")] == [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER]


def test_the_example_of_a_configuration_is_one() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert Settings.model_validate(tomllib.loads(block)).webhooks[0].name == "on-call"


def test_limits_are_those_of_the_code() -> None:
    assert (TEXT_CHARACTERS_MAX, f"{DETAIL_BYTES_MAX:,}", KEY_BYTES_MIN) == (2000, "32,768", 16)
    assert (FIRST_WAIT_S, LONGEST_WAIT_S, NEWS_WAIT_S, ASKED_WAIT_S_MAX, RESTORED_S_MIN) == (1, 1800, 30, 3600, 60)
    assert (STOP_WAIT_S, FAILURES_BEFORE_ALERT) == (1, 3)
    for text in (
        "2,000 characters", "32,768 bytes", "16 bytes", "waits 1 s", "30 minutes at most", "within 30 s", "an hour",
        "a minute at least", "waits a second", "Three failed attempts",
    ):  # fmt: skip
        assert text in PAGE, text


def test_a_stop_of_the_room_is_within_the_patience_of_the_parent() -> None:
    assert STOP_WAIT_S + KEEP_WAIT_S < CONTROL_STOP_S


def test_every_reason_to_drop_an_event_is_in_the_page_of_metrics() -> None:
    line = METRICS.split("`reason` of `roost_webhook_dropped_total`:")[1].split(";")[0]
    assert re.findall(r"`([a-z_]+)`", line) == [reason.value for reason in Drop]
