"""Break-glass: with control dead, going home works; with control alive, nothing happens."""

import logging
import os
from pathlib import Path

import pytest

from native.plane.decisions import DecisionRing
from native.plane.routing import SEAT_STATE_LOADING
from native.plane.seats import WorkerSeats
from protos.roost.v1 import admin_pb2
from registry_client.manifest import sha256_hex
from server.control.break_glass import GlassHolds, roll_back_locally
from server.control.journal_file import JournalFile
from server.control.state_folder import KeptState, StateFolder
from server.lifecycle.state import Artifact, ModelState
from tests.control.driven_server import NAME, Workers, new_plane, operation, push, serving, settings_of


@pytest.fixture
def digests(tmp_path: Path) -> list[str]:
    root = tmp_path / "registry"
    return [push(root, 1, aliases=("stable",)), push(root, 2)]


async def test_it_takes_the_canary_out_and_the_next_control_process_writes_it_down(
    tmp_path: Path, digests: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "roost.control")
    settings, plane = settings_of(tmp_path), new_plane()
    pid = os.getpid()
    monkeypatch.setattr("server.control.break_glass._plane_of", lambda *_: Path(f"/proc/{pid}/fd/{plane.fd}"))
    async with serving(settings, plane, digests[0]) as server:
        await server.stub.DeployCanary(
            admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version="2", weight_ppm=50_000)
        )
        for box in server.driver.boxes.values():
            assert await box.drained(60)
        with pytest.raises(GlassHolds, match="lives"):
            roll_back_locally(pid, NAME, "ada", "it hurts")
        revision, workers = server.route.revision, server.workers
        assert server.route.canary is not None
    done = roll_back_locally(pid, "", "ada", "it hurts")
    assert (done.model, done.revision, done.version, done.following) == (NAME, revision + 1, "1", False)
    async with serving(settings, plane, digests[0], workers=workers) as server:
        assert server.route.canary is None
        assert server.driver.state(NAME).revision == revision + 1
        await server.until(lambda: server.driver.seating.find(0, digests[1]) is None)
        for box in server.driver.boxes.values():
            assert await box.drained(60)
        entry = JournalFile(tmp_path / "state").lines()[-1].entry
        assert (entry["kind"], entry["operator"], entry["reason"]) == ("rolled_back", "ada", "it hurts")
        assert "break_glass" in entry["evidence"]
        told = [event for event in server.driver.events.kept_after(0) if event.kind == "decision"]
        assert ["by ada (it hurts)" in event.text for event in told] == [True], "who was away hears of it"
        assert told[0].at_utc == entry["at_utc"], "as of when it was done"
        assert server.driver.decisions_counted[NAME, "rolled_back"] == 1
        assert any("by ada (it hurts)" in record.getMessage() for record in caplog.records)
    async with serving(settings, plane, digests[0], workers=workers) as server:
        assert not [event for event in server.driver.events.kept_after(0) if event.kind == "decision"], "once"


async def test_decisions_of_another_build_are_said_to_be_so(
    tmp_path: Path, digests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = new_plane()
    monkeypatch.setattr("server.control.break_glass._plane_of", lambda *_: Path(f"/proc/{os.getpid()}/fd/{plane.fd}"))
    async with serving(settings_of(tmp_path), plane, digests[0]):
        pass
    DecisionRing(plane).append("as another build writes them")
    with pytest.raises(GlassHolds, match="Run the `roost` of the build that serves"):
        roll_back_locally(os.getpid(), "", "ada", "it hurts")


async def test_it_goes_back_to_the_last_safe_version_only_where_every_worker_has_it(
    tmp_path: Path, digests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, plane = settings_of(tmp_path), new_plane()
    monkeypatch.setattr("server.control.break_glass._plane_of", lambda *_: Path(f"/proc/{os.getpid()}/fd/{plane.fd}"))
    async with serving(settings, plane, digests[0]) as server:
        await server.stub.DeployCanary(
            admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version="2", weight_ppm=50_000)
        )
        await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        safe = server.route.last_safe
        assert safe is not None
    WorkerSeats(plane.block(1)).set_state(safe.seat, safe.generation, SEAT_STATE_LOADING)
    with pytest.raises(GlassHolds, match="not loaded at every worker"):
        roll_back_locally(1, NAME, "ada", "it hurts")
    Workers(plane).turn()
    assert roll_back_locally(1, NAME, "ada", "it hurts").version == "1"
    with pytest.raises(GlassHolds, match="neither"):
        roll_back_locally(1, NAME, "ada", "it hurts")
    with pytest.raises(GlassHolds, match="expected one of doubling"):
        roll_back_locally(1, "other", "ada", "it hurts")


@pytest.mark.parametrize("quarantined", [3, 150])
async def test_it_leaves_everything_in_quarantine_that_was(
    tmp_path: Path, digests: list[str], monkeypatch: pytest.MonkeyPatch, quarantined: int
) -> None:
    settings, plane = settings_of(tmp_path), new_plane()
    monkeypatch.setattr("server.control.break_glass._plane_of", lambda *_: Path(f"/proc/{os.getpid()}/fd/{plane.fd}"))
    many = {sha256_hex(str(number).encode()): "bad" for number in range(quarantined)}
    stable = Artifact("1", digests[0])
    kept = KeptState(ModelState(NAME, revision=5, stable=stable, quarantine=many))
    StateFolder(tmp_path / "state").write_states([kept])
    bad = "e" * 64
    async with serving(settings, plane, digests[0]) as server:
        await server.stub.DeployCanary(
            admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version="2", weight_ppm=50_000)
        )
        for box in server.driver.boxes.values():
            assert await box.drained(60)
        behind = (tmp_path / "state/states.json").read_bytes()
        await server.stub.Quarantine(admin_pb2.QuarantineRequest(operation=operation(), digest=bad, model=NAME))
        workers = server.workers
    (tmp_path / "state/states.json").write_bytes(behind)  # as a kill leaves it that came before it was written
    roll_back_locally(1, NAME, "ada", "it hurts")
    async with serving(settings, plane, digests[0], workers=workers) as server:
        assert server.driver.state(NAME).quarantine.keys() == {*many, bad}
        for box in server.driver.boxes.values():
            assert await box.drained(60)
        entries = {line.entry["kind"]: line.entry for line in JournalFile(tmp_path / "state").lines()}
        assert bad in str(entries["quarantined"])
        known = entries["rolled_back"]["to"]["quarantine"]
        assert known == (sorted({*many, bad}) if quarantined == 3 else None), "what it did not know it does not say"


def test_a_process_without_a_plane_is_no_server() -> None:
    with pytest.raises(GlassHolds, match="expected the server's parent"):
        roll_back_locally(1 << 22, NAME, "ada", "it hurts")
    with pytest.raises(GlassHolds, match="expected the server's parent"):
        roll_back_locally(os.getppid(), NAME, "ada", "it hurts")
