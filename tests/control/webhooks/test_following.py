"""Which events are posted: a driver that decides, and a real receiver that hears of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protos.roost.v1 import admin_pb2
from server.control.event_log import EventLog
from server.control.webhooks.following import DECISIONS, Following, kind_of
from server.control.webhooks.webhooks import Webhooks
from server.lifecycle.explain import KINDS
from tests.control.driven_server import NAME, DrivenServer, operation, serving
from tests.control.driven_world import World, deploy
from tests.control.webhooks.page import verified
from tests.control.webhooks.receivers import ENVIRONMENT, SECRET, PlayedClock, raw_server, receiving, settings_of


@contextlib.asynccontextmanager
async def told_of(server: DrivenServer, url: str) -> AsyncIterator[Webhooks]:
    """Webhooks that follow a driver, as the control process puts them together."""
    driver = server.driver
    settings = [settings_of(url, timeout_s=60.0)]
    webhooks = Webhooks(settings, driver.folder.path, driver.alert, clock=PlayedClock(), environment=ENVIRONMENT)
    tasks = [asyncio.create_task(one) for one in (Following(driver.events, webhooks).run(), webhooks.run())]
    await asyncio.sleep(0)
    try:
        yield webhooks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_canary_that_goes_home_a_promotion_and_a_rollback_reach_a_receiver_with_their_entries(
    world: World,
) -> None:
    with receiving() as receiver:
        async with serving(world.settings, world.plane, world.digests[0]) as server, told_of(server, receiver.url):
            await deploy(server, "2")
            while server.route.canary is not None:
                server.workers.answer(server.route, 1000, canary_errors=50)
                await asyncio.sleep(0.01)
            await deploy(server, "3")
            await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
            await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
            await server.stub.Quarantine(
                admin_pb2.QuarantineRequest(operation=operation(), model=NAME, digest="ab" * 32)
            )
            await server.until(lambda: len(receiver.received) == 4)
    sent = [json.loads(one.body) for one in receiver.received]
    assert [(one["kind"], one["detail"]["kind"]) for one in sent] == [
        ("rollback", "went_home"),
        ("promote", "promoted"),
        ("rollback", "rolled_back"),
        ("quarantine", "quarantined"),
    ]
    for one, got in zip(sent, receiver.received, strict=True):
        assert verified(SECRET, dict(got.headers), got.body, tolerance_s=float("inf"))  # the clock is played
        assert one["model"] == NAME
    assert "version 2 was found to be bad and taken back by itself; 1 serves" in sent[0]["text"]
    assert sent[2]["detail"]["operator"] == "ada"
    times = [one["time"] for one in sent]
    assert times == sorted(times)


async def test_decisions_are_made_while_a_receiver_keeps_silent(world: World) -> None:
    held = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()

    async with (
        serving(world.settings, world.plane, world.digests[0]) as server,
        raw_server(never) as url,
        told_of(server, url) as webhooks,
    ):
        server.driver.alert("registry", "it is down")
        for _ in range(3):
            await deploy(server, "2")
            await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        await server.until(lambda: webhooks.views()[0].waiting == 4)
        assert webhooks.views()[0].last_status == "", "the first attempt is still under way"
        held.set()


async def test_a_webhook_that_fails_is_an_alert_which_is_posted_to_nobody(world: World) -> None:
    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with (
        serving(world.settings, world.plane, world.digests[0]) as server,
        raw_server(hangs_up) as url,
        told_of(server, url) as webhooks,
    ):
        server.driver.alert("registry", "it is down")
        await server.until(lambda: "webhook ops" in server.driver.alerts)
        alerts = [event for event in server.driver.events.kept_after(0) if event.kind == "alert"]
        assert [event.text.partition(":")[0] for event in alerts] == ["registry", "webhook ops"]
        await asyncio.sleep(0)
        assert webhooks.views()[0].waiting == 1


def test_what_is_told_of_a_decision_is_a_decision_there_is() -> None:
    assert set(DECISIONS) <= set(KINDS)


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("incident", "a worker ended", "incident"),
        ("alert", "journal: No space left on device", "alert"),
        ("alert", "webhook ops: its receiver takes nothing: 500", None),
        ("alert_over", "journal", None),
        ("verdict", "version 2 after 100 requests: wait", None),
        ("loading", "version 2", None),
        ("drift", "amount has moved", "drift"),
    ],
)
def test_an_event_is_told_as_its_kind(kind: str, text: str, told: str | None) -> None:
    assert kind_of(EventLog(1).append(kind, text)) == told


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_decision_is_told_where_it_changes_what_is_trusted(kind: str) -> None:
    assert kind_of(EventLog(1).append("decision", "text", detail={"kind": kind})) == DECISIONS.get(kind)
