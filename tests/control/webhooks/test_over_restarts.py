"""What waits for webhooks over a restart, and what a stop waits for."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from server.control.webhooks.kept import WEBHOOKS, KeptDeliveries
from server.control.webhooks.webhooks import STOP_WAIT_S
from tests.control.webhooks.receivers import (
    WAIT_S,
    HttpReceiver,
    PlayedClock,
    Received,
    Reply,
    free_port,
    posting,
    raw_server,
    receiving,
    settings_of,
)


async def test_what_waits_is_delivered_after_a_restart_under_its_old_id_with_its_attempts(tmp_path: Path) -> None:
    port = free_port()
    settings = settings_of(f"http://127.0.0.1:{port}/", attempts_max=5)
    clock = PlayedClock()
    async with posting(settings, state=tmp_path, clock=clock) as room:
        clock.holds = True
        room.webhooks.post("rollback", "m", "one")
        await room.until(lambda: room.view.failures)
        room.webhooks.post("alert", "m", "two")
        kept = KeptDeliveries(tmp_path)
        await room.until(lambda: [one.attempts for one in kept.read().get("ops", ())] == [1, 0])
    ids = [one.id for one in kept.read()["ops"]]
    with receiving(port=port) as receiver:
        async with posting(settings, state=tmp_path) as room:
            await room.until(lambda: room.view.delivered == 2)
            assert receiver.ids == ids
            await room.until(lambda: not kept.read())
        async with posting(settings, state=tmp_path) as room:
            await room.webhooks.stop()
        assert receiver.ids == ids, "and not once more"


async def test_a_wall_clock_that_jumped_over_a_restart_loses_nothing(tmp_path: Path) -> None:
    port = free_port()
    settings = settings_of(f"http://127.0.0.1:{port}/")
    async with posting(settings, state=tmp_path) as room:
        room.clock.holds = True
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: KeptDeliveries(tmp_path).read())
    for jump_s in (1e8, -1e8):
        clock = PlayedClock()
        clock.wall_s += jump_s
        clock.holds = True
        async with posting(settings, state=tmp_path, clock=clock) as room:
            await room.until(lambda: room.view.failures)
            assert room.view.waiting == 1
    with receiving(port=port):
        async with posting(settings, state=tmp_path) as room:
            await room.until(lambda: room.view.delivered)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"format": 2, "webhooks": {}}', b'{"format": 1, "webhooks": {"ops": [{"id": "x"}]}}',
     b'{"format":1,"webhooks":{"ops":[{"id":"x","kind":"y","at_s":1,"attempts":0,"body":""}]}}', b"\xff"],
)  # fmt: skip
async def test_a_damaged_file_is_left_out_said_and_written_anew(
    receiver: HttpReceiver, tmp_path: Path, content: bytes, said: pytest.LogCaptureFixture
) -> None:
    (tmp_path / WEBHOOKS).write_bytes(content)
    async with posting(settings_of(receiver.url), state=tmp_path) as room:
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.view.delivered)
        await room.webhooks.stop()
    assert any("webhooks.json is damaged" in record.message for record in said.records)
    assert json.loads((tmp_path / WEBHOOKS).read_bytes()) == {"format": 1, "webhooks": {}}


async def test_what_waits_for_a_webhook_that_is_configured_no_more_is_dropped_and_said(
    receiver: HttpReceiver, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    async with posting(settings_of(f"http://127.0.0.1:{free_port()}/", "old"), state=tmp_path) as room:
        room.clock.holds = True
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: KeptDeliveries(tmp_path).read())
    async with posting(settings_of(receiver.url, "new"), state=tmp_path) as room:
        await room.until(lambda: not KeptDeliveries(tmp_path).read())
    assert not receiver.received
    assert any("webhooks that there are no more" in record.message for record in said.records)


async def test_a_disk_that_is_full_stops_no_delivery_and_is_an_alert(receiver: HttpReceiver, tmp_path: Path) -> None:
    (tmp_path / "state").touch()  # no folder can be made there
    async with posting(settings_of(receiver.url), state=tmp_path / "state") as room:
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: room.view.delivered)
        await room.until(lambda: "webhook events" in room.alerts)
        (tmp_path / "state").unlink()
        await room.until(lambda: room.alerts == {})


# --- Stopping --------------------------------------------------------------------------------------------------------
async def test_a_stop_waits_for_what_can_go_at_once(receiver: HttpReceiver) -> None:
    async with posting(settings_of(receiver.url)) as room:
        await room.until(room.webhooks._receivers[0].at_rest.is_set)
        for number in range(10):
            room.webhooks.post("rollback", "m", str(number))
        await room.webhooks.stop()
        assert room.view.delivered == 10


async def test_a_stop_waits_for_another_attempt_that_is_under_way(receiver: HttpReceiver) -> None:
    goes_on = threading.Event()

    def answer(_: Received) -> Reply:
        if len(receiver.received) == 1:
            return Reply(500)
        goes_on.wait(WAIT_S)
        return Reply()

    receiver.answer = answer
    async with posting(settings_of(receiver.url)) as room:
        room.webhooks.post("rollback", "m", "text")
        await room.until(lambda: len(receiver.received) == 2)
        stopping = asyncio.create_task(room.webhooks.stop())
        for _ in range(100):
            await asyncio.sleep(0)
        goes_on.set()
        await stopping
        assert room.view.delivered == 1


async def test_a_stop_waits_neither_for_a_silent_receiver_nor_for_one_that_rests_and_keeps_what_waits(
    tmp_path: Path,
) -> None:
    held = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()

    loop = asyncio.get_running_loop()
    async with raw_server(never) as url:
        for settings, patience_s in (
            (settings_of(f"http://127.0.0.1:{free_port()}/"), STOP_WAIT_S / 2),
            (settings_of(url, timeout_s=60.0), 3 * STOP_WAIT_S),
        ):
            clock = PlayedClock()
            clock.holds = True
            async with posting(settings, state=tmp_path, clock=clock) as room:
                room.webhooks.post("rollback", "m", "text")
                began_s = loop.time()
                await room.webhooks.stop()
                assert loop.time() - began_s < patience_s
            assert len(KeptDeliveries(tmp_path).read()["ops"]) >= 1
        held.set()
