"""Looks: what is found out is told as it is, whatever the settings let follow from it."""

import asyncio
import itertools
import shutil
from pathlib import Path

import pytest

from protos.roost.v1 import admin_pb2
from server.control import looks
from server.control.journal_file import JournalFile
from server.control.looks import AGAIN_S_MAX, AGAIN_S_MIN, _Told
from server.lifecycle.state import Artifact, ModelState
from tests.control.driven_server import NAME, DrivenServer, new_plane, operation, push, serving, settings_of

PLAN = '{"steps": [{"weight": 0.2, "bake_s": 0.3}, {"weight": 0.5}]}'


async def test_a_worse_canary_whose_rollback_is_off_stays_at_its_step_and_is_journalled_once(tmp_path: Path) -> None:
    root, plane = tmp_path / "registry", new_plane()
    digests = [push(root, 1, aliases=("stable",)), push(root, 2)]
    settings = settings_of(tmp_path)
    settings = settings.model_copy(update={"lifecycle": settings.lifecycle.model_copy(update={"auto_rollback": False})})
    async with serving(settings, plane, digests[0]) as server:
        await server.stub.DeployCanary(
            admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version="2", plan_json=PLAN)
        )
        server.workers.answer(server.route, 10_000, canary_errors=900)
        await server.until(lambda: f"{NAME}: worse" in server.driver.alerts)
        await asyncio.sleep(0.5)  # far beyond the step's bake time
        assert server.route.canary_ppm == 200_000
        canary = server.driver.state(NAME).canary
        assert canary is not None
        assert canary.verdict == "worse"
        assert server.driver.state(NAME).quarantine == {}
        for box in server.driver.boxes.values():
            assert await box.drained(60)
        entries = [line.entry for line in JournalFile(tmp_path / "state").lines()]
        assert [entry["kind"] for entry in entries] == ["started", "canary_deployed", "canary_started", "withheld"]
        assert "since lifecycle.auto_rollback is off" in entries[-1]["evidence"]["withheld"]
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        await server.until(lambda: f"{NAME}: worse" not in server.driver.alerts)


def go_down(root: Path) -> None:
    """A folder registry whose disk is gone: nothing can be read or made there."""
    root.rename(root.with_name("away"))
    root.touch()


def come_back(root: Path) -> None:
    root.unlink()
    root.with_name("away").rename(root)


async def quarantine(server: DrivenServer, digest: str) -> None:
    request = admin_pb2.QuarantineRequest(operation=operation(), digest=digest, model=NAME)
    await server.stub.Quarantine(request)


async def test_a_registry_that_is_down_for_seconds_while_coming_home_costs_no_more_than_these_seconds(
    tmp_path: Path,
) -> None:
    root, plane = tmp_path / "registry", new_plane()
    digests = [push(root, 1, aliases=("stable",)), push(root, 2), push(root, 3)]
    async with serving(settings_of(tmp_path), plane, digests[0]) as server:
        await server.until(lambda: len(server.driver.state(NAME).known) == 3)
        go_down(root)
        await quarantine(server, digests[0])
        await asyncio.sleep(1.5)
        model = server.driver.state(NAME)
        assert model.coming is not None
        assert {artifact.digest for artifact in model.known} == set(digests)
        assert model.revision < 12, "asked for again, but not as often as it can be"
        come_back(root)
        await server.until(lambda: server.route.stable is not None)
        assert server.digest("stable") in digests[1:]


async def test_a_last_safe_version_that_can_not_be_fetched_at_a_start_is_fetched_later(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    digests = [push(root, 1), push(root, 2, aliases=("stable",))]
    settings = settings_of(tmp_path)
    async with serving(settings, new_plane(), digests[0]) as server:
        await server.stub.DeployCanary(
            admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version="2", weight_ppm=50_000)
        )
        await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        for box in server.driver.boxes.values():
            assert await box.drained(60)
    shutil.rmtree(settings.registry.cache)
    go_down(root)
    async with serving(settings, new_plane(boot=2), digests[1], version="2") as server:
        await server.until(lambda: any("it waits" in alert for alert in server.driver.alerts.values()))
        assert server.driver.state(NAME).ready == {digests[1]}
        come_back(root)
        await server.until(lambda: digests[0] in server.driver.state(NAME).ready)
        assert not any("it waits" in alert for alert in server.driver.alerts.values())
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        assert server.digest("stable") == digests[0]


async def test_what_was_refused_is_tried_again_where_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "AGAIN_S_MIN", 0.2)
    monkeypatch.setattr(_Told, "wait_s", 0.2)
    root, plane = tmp_path / "registry", new_plane()
    digests = [push(root, 1, aliases=("stable",)), push(root, 2)]
    async with serving(settings_of(tmp_path), plane, digests[0]) as server:
        await server.until(lambda: len(server.driver.state(NAME).known) == 2)
        server.refused[digests[1]] = "OSError: no space left on device"
        await quarantine(server, digests[0])
        await server.until(lambda: server.driver.state(NAME).coming is None)
        server.refused.clear()
        await server.until(lambda: server.digest("stable") == digests[1])


def test_it_is_tried_again_more_and_more_rarely_and_anew_after_something_has_served() -> None:
    told, nothing = _Told(), ModelState(NAME)
    coming, serving_ = (ModelState(NAME, **{place: Artifact("1", "a" * 64)}) for place in ("coming", "stable"))
    due_s = []
    for second in range(3 * int(AGAIN_S_MAX)):
        if told.is_due(nothing, float(second)):
            due_s.append(second)
            assert not told.is_due(coming, float(second))
    pauses = [later - earlier for earlier, later in itertools.pairwise(due_s)]
    assert due_s[0] == AGAIN_S_MIN
    assert pauses == sorted(pauses)
    assert pauses[-1] in (AGAIN_S_MAX, AGAIN_S_MAX + 1)
    assert not told.is_due(serving_, 1e6)
    assert not told.is_due(nothing, 1e6)
    assert told.is_due(nothing, 1e6 + AGAIN_S_MIN)
