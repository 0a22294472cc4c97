"""Looks: what is found out is told as it is, whatever the settings let follow from it."""

import asyncio
from pathlib import Path

from protos.roost.v1 import admin_pb2
from server.control.journal_file import JournalFile
from tests.control.driven_server import NAME, new_plane, operation, push, serving, settings_of

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
            assert await box.drained(10)
        entries = [line.entry for line in JournalFile(tmp_path / "state").lines()]
        assert [entry["kind"] for entry in entries] == ["started", "canary_deployed", "canary_started", "withheld"]
        assert "since lifecycle.auto_rollback is off" in entries[-1]["evidence"]["withheld"]
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        await server.until(lambda: f"{NAME}: worse" not in server.driver.alerts)
