"""Webhooks against real receivers: whatever those do, events arrive, wait or are dropped as the page says."""

import asyncio
import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from server.control.webhooks.kept import WEBHOOKS
from server.control.webhooks.waiting import ASKED_WAIT_S_MAX, LONGEST_WAIT_S
from tests.control.webhooks.page import verified
from tests.control.webhooks.receivers import (
    ENVIRONMENT,
    SECRET,
    HttpReceiver,
    Received,
    Reply,
    free_port,
    posting,
    raw_server,
    receiving,
    settings_of,
)


def in_turn(*statuses: int) -> Callable[[Received], Reply]:
    """An answer for each request; the last one for all that follow."""
    left = list(statuses)
    return lambda _: Reply(left.pop(0) if len(left) > 1 else left[0])


# --- What arrives ----------------------------------------------------------------------------------------------------
async def test_an_event_arrives_signed_with_all_that_happened(
    receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with posting(settings_of(receiver.url)) as room:
        monkeypatch.setattr("time.time", lambda: room.clock.wall_s)
        detail = {"revision": 12, "why": ["\ud800"]}
        room.webhooks.post("rollback", "m\u00f6dell", "version 8 came home\nby itself", detail)
        await room.until(lambda: room.view.delivered)
    (got,) = receiver.received
    assert got.path == "/hooks/token-in-the-path?x=1"
    assert got.headers["content-type"] == "application/json"
    assert verified(SECRET, dict(got.headers), got.body)
    assert not verified(SECRET[::-1], dict(got.headers), got.body)
    assert json.loads(got.body) == {
        "id": got.headers["webhook-id"],
        "time": "2027-01-15T08:00:00.000Z",
        "kind": "rollback",
        "model": "m\u00f6dell",
        "text": "version 8 came home\nby itself",
        "detail": {"revision": 12, "why": ["\ud800"]},
    }
    assert got.headers["webhook-timestamp"] == "1800000000"


@pytest.mark.parametrize(
    ("detail", "why"),
    [({"a": float("nan")}, "not JSON"), ({"a": object()}, "not JSON"), ({"a": "x" * 40_000}, "too long")],
    ids=["nan", "object", "long"],
)
async def test_a_detail_that_cannot_be_sent_is_left_out_and_the_event_is_sent(
    receiver: HttpReceiver, detail: dict[str, Any], why: str
) -> None:
    async with posting(settings_of(receiver.url)) as room:
        room.webhooks.post("alert", "", "x" * 5000, detail)
        await room.until(lambda: receiver.received)
    sent = json.loads(receiver.received[0].body)
    assert (sent["detail"], sent["detail_left_out"], len(sent["text"])) == (None, why, 2000)


async def test_each_webhook_gets_the_kinds_that_it_asked_for_and_all_of_them_by_default(receiver: HttpReceiver) -> None:
    with receiving() as other:
        picky = settings_of(other.url, "picky", events=["rollback", "incident"])
        async with posting(settings_of(receiver.url), picky) as room:
            for kind in ("promote", "rollback", "alert", "drift", "incident", "quarantine"):
                room.webhooks.post(kind, "m", kind)  # type: ignore[arg-type]
            await room.until(lambda: [view.delivered for view in room.webhooks.views()] == [6, 2])
        assert [json.loads(one.body)["kind"] for one in other.received] == ["rollback", "incident"]
        assert not set(receiver.ids) & set(other.ids), "an id is one delivery's"


# --- Receivers that fail ---------------------------------------------------------------------------------------------
async def test_an_event_is_tried_again_under_the_same_id_with_a_new_timestamp_until_it_is_taken(
    receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer = in_turn(500, 400, 404, 503, 299)
    async with posting(settings_of(receiver.url)) as room:
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.view.delivered)
        view = room.view
    assert len(set(receiver.ids)) == 1
    assert len({one.body for one in receiver.received}) == 1
    timestamps = [int(one.headers["webhook-timestamp"]) for one in receiver.received]
    assert timestamps == sorted(timestamps)
    assert timestamps[0] < timestamps[-1]
    for one in receiver.received:
        monkeypatch.setattr("time.time", lambda one=one: float(one.headers["webhook-timestamp"]))
        assert verified(SECRET, dict(one.headers), one.body)
    assert (view.delivered, view.failures, view.failures_in_a_row, view.last_status) == (1, 4, 0, "299")
    rests = room.clock.rests
    assert len(rests) == 4
    for failures, wait_s in enumerate(rests):
        assert 0.5 * 2**failures <= wait_s <= 2**failures


async def test_after_the_last_attempt_it_is_dropped_counted_and_said(
    receiver: HttpReceiver, said: pytest.LogCaptureFixture
) -> None:
    receiver.answer = in_turn(500)
    async with posting(settings_of(receiver.url, attempts_max=4)) as room:
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.view.dropped["attempts"])
        assert room.view.waiting == 0
        assert room.alerts == {"webhook ops": "its receiver takes nothing: 500"}
        receiver.answer = in_turn(204)
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.view.delivered)
        assert room.alerts == {}
    assert len(receiver.received) == 5
    assert sum("is dropped" in record.message for record in said.records) == 1
    assert any("takes events again" in record.message for record in said.records)


async def test_a_receiver_that_is_down_gets_everything_once_it_is_up() -> None:
    port = free_port()
    async with posting(settings_of(f"http://127.0.0.1:{port}/")) as room:
        for number in range(5):
            room.webhooks.post("alert", "", str(number))
        await room.until(lambda: room.view.failures_in_a_row >= 3)
        assert "Connect call failed" in room.view.last_status
        assert "takes nothing" in room.alerts["webhook ops"]
        with receiving(port=port) as receiver:
            await room.until(lambda: room.view.delivered == 5)
        assert {json.loads(one.body)["text"] for one in receiver.received} == set("01234")
        assert room.view.dropped == {"queue_full": 0, "attempts": 0, "age": 0, "gone": 0}
        assert room.alerts == {}


async def test_what_waits_for_too_long_is_dropped_and_what_is_young_is_not() -> None:
    async with posting(settings_of(f"http://127.0.0.1:{free_port()}/", age_max_s=100.0)) as room:
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.view.dropped["age"])
        assert 100.0 <= room.clock.at_s - 1000.0 <= 100.0 + LONGEST_WAIT_S
        assert (room.view.waiting, room.view.dropped["attempts"]) == (0, 0)


async def test_a_receiver_that_says_nothing_costs_its_time_and_holds_up_no_other(receiver: HttpReceiver) -> None:
    silent = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()

    async with (
        raw_server(never) as url,
        posting(settings_of(url, "slow", timeout_s=0.1), settings_of(receiver.url, "quick")) as room,
    ):
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.webhooks.views()[1].delivered)
        await room.until(lambda: room.view.failures)
        assert room.view.last_status == "no answer within 0.1 s"
        silent.set()


async def test_a_receiver_that_drips_is_cut_off_in_time() -> None:
    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_server(drips) as url, posting(settings_of(url, timeout_s=0.2)) as room:
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.view.failures)
        assert room.view.last_status == "no answer within 0.2 s"


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01 not http at all\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK",
    ],
    ids=["tls", "words", "nothing", "headers", "continues", "half"],
)
async def test_an_answer_that_is_no_http_is_a_failed_attempt(nonsense: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(nonsense)
        await writer.drain()

    async with raw_server(answer) as url, posting(settings_of(url, attempts_max=2)) as room:
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.view.dropped["attempts"])
        assert room.view.last_status == "an answer that is not HTTP"
        assert room.view.delivered == 0


async def test_a_body_that_never_ends_does_not_turn_a_taken_event_into_a_failed_one() -> None:
    written = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()
            written += 65_536

    async with raw_server(endless) as url, posting(settings_of(url)) as room:
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.view.delivered)
        assert room.view.failures == 0
    assert written < 100_000_000


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_never_followed(receiver: HttpReceiver, status: int) -> None:
    with receiving() as elsewhere:
        receiver.answer = lambda _: Reply(status, {"location": elsewhere.url})
        async with posting(settings_of(receiver.url, attempts_max=2)) as room:
            room.webhooks.post("rollback", "m", "text")
            await room.until(lambda: room.view.dropped["attempts"])
            assert room.view.last_status == f"{status}, and redirects are not followed"
        assert not elsewhere.received


async def test_410_switches_a_webhook_off_drops_what_waits_and_says_so(receiver: HttpReceiver) -> None:
    receiver.answer = in_turn(500, 410)
    async with posting(settings_of(receiver.url)) as room:
        for number in range(3):
            room.webhooks.post("rollback", "m", str(number))
        await room.until(lambda: not room.view.on)
        room.webhooks.post("rollback", "m", "after")
        assert (room.view.dropped["gone"], room.view.waiting, room.view.last_status) == (4, 0, "410")
        assert "410 Gone" in room.alerts["webhook ops"]
    assert len(receiver.received) == 2
    receiver.answer = in_turn(204)
    async with posting(settings_of(receiver.url)) as room:
        room.webhooks.post("rollback", "m", "on again after a restart")
        await room.until(lambda: room.view.delivered)


@pytest.mark.parametrize(
    ("status", "asked", "least_s"),
    [
        (429, "120", 120.0),
        (503, "120", 120.0),
        (429, format_datetime(datetime.fromtimestamp(1_800_000_000, UTC) + timedelta(seconds=300), usegmt=True), 300.0),
        (429, "9" * 30, ASKED_WAIT_S_MAX),
        (429, "Fri, 31 Dec 9999 23:59:59 GMT", ASKED_WAIT_S_MAX),
        (429, "Fri, 31 Dec 1999 23:59:59 GMT", 0.5),
        (429, "soon", 0.5),
        (429, "Mon, 16 Nov 2009 13:32:02 +99999999999999999999", 0.5),
        (429, "Mon, 16 Nov 20090000000000000000 13:32:02 GMT", 0.5),
        (429, "Mon, 01 Jan 0001 00:00:00 +2359", 0.5),
        (429, "-5", 0.5),
        (429, "", 0.5),
        (500, "120", 0.5),
    ],
)
async def test_retry_after_is_honoured_within_bounds(
    receiver: HttpReceiver, status: int, asked: str, least_s: float
) -> None:
    receiver.answer = lambda _: Reply(status, {"retry-after": asked}) if len(receiver.received) == 1 else Reply()
    async with posting(settings_of(receiver.url)) as room:
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.view.delivered)
    (waited_s,) = room.clock.rests
    assert least_s <= waited_s <= max(least_s, 1.0)


async def test_a_full_queue_keeps_what_matters_most_and_says_what_it_dropped(said: pytest.LogCaptureFixture) -> None:
    port = free_port()
    async with posting(settings_of(f"http://127.0.0.1:{port}/", queue_max=10)) as room:
        room.clock.holds = True
        room.webhooks.post("alert", "", "first")
        await room.until(lambda: room.view.failures)
        for number in range(8):
            room.webhooks.post("rollback", "m", f"rollback {number}")
        for number in range(20):
            room.webhooks.post("alert", "", f"alert {number}")
        assert (room.view.waiting, room.view.dropped["queue_full"]) == (10, 19)
        with receiving(port=port) as receiver:
            room.clock.holds = False
            room.clock.advance(3600.0)
            room.webhooks.post("promote", "m", "goes at once: nothing matters less")
            await room.until(lambda: room.view.delivered == 10)
    texts = [json.loads(one.body)["text"] for one in receiver.received]
    assert texts == [*(f"rollback {number}" for number in range(8)), "alert 18", "alert 19"]
    assert sum("is dropped" in record.message for record in said.records) == 1


# --- Secrets ---------------------------------------------------------------------------------------------------------
async def test_a_secret_that_is_replaced_is_in_force_at_once_and_one_that_goes_missing_is_a_failed_attempt(
    receiver: HttpReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    settings = settings_of(receiver.url, secret_file=file, secret_variable=None)
    async with posting(settings) as room:
        monkeypatch.setattr("time.time", lambda: room.clock.wall_s)
        room.webhooks.post("rollback", "m", "one")
        await room.until(lambda: room.view.delivered == 1)
        file.unlink()
        room.webhooks.post("rollback", "m", "two")
        await room.until(lambda: room.view.failures)
        assert room.view.last_status.startswith("secret_file: expected a file that can be read")
        file.write_text("another secret, as long")
        await room.until(lambda: room.view.delivered == 2)
        room.clock.wall_s = float(receiver.received[1].headers["webhook-timestamp"])
        assert verified("another secret, as long", dict(receiver.received[1].headers), receiver.received[1].body)


async def test_a_secret_that_cannot_be_read_in_time_costs_one_read_and_holds_up_no_other(
    receiver: HttpReceiver, tmp_path: Path
) -> None:
    """A FIFO that nobody writes to stands for whatever hangs in the system: a disk, a look-up of a name."""
    fifo = tmp_path / "secret"
    os.mkfifo(fifo)
    stuck = settings_of(receiver.url, "stuck", timeout_s=0.1, secret_file=fifo, secret_variable=None)
    with receiving() as other:
        async with posting(stuck, settings_of(other.url, "quick")) as room:
            room.webhooks.post("rollback", "m", "text")
            await room.until(lambda: room.view.failures >= 3 and room.webhooks.views()[1].delivered == 1)
            assert room.view.last_status == "no answer within 0.1 s"
            assert [thread.name for thread in threading.enumerate()].count("roost-webhook-stuck") == 1
            assert room.webhooks._receivers[0]._calls._jobs.empty(), "each attempt joins the read that hangs"
            writer = os.open(fifo, os.O_RDWR)  # does not wait for a reader, as one that only writes would
            fifo.unlink()
            fifo.write_text(SECRET)
            os.close(writer)
            await room.until(lambda: room.view.delivered)


async def test_neither_the_secret_nor_the_path_of_an_address_is_logged_or_shown(
    receiver: HttpReceiver, said: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    receiver.answer = in_turn(500, 500, 500, 500, 302, 204, 410)
    async with posting(settings_of(receiver.url, attempts_max=5), state=tmp_path) as room:
        for number in range(3):
            room.webhooks.post("rollback", "m", str(number))
        await room.until(lambda: not room.view.on)
        shown = [repr(room.webhooks.views()), repr(room.told), *(repr(vars(record)) for record in said.records)]
    assert any("is off" in text for text in shown)
    shown.append((tmp_path / WEBHOOKS).read_text())
    for text in shown:
        assert SECRET not in text
        assert ENVIRONMENT["HOOK_SECRET"].encode().hex() not in text
        assert "token-in-the-path" not in text
