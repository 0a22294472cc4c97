"""A journal that can't be written or read: going home goes on, plans do not, and no entry is lost or doubled."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import aio
from starlette.testclient import TestClient

from native.plane.routing import DECISIONS_COUNT
from protos.roost.v1 import admin_pb2 as pb
from registry_client.folder import FolderRegistry
from server.control.http import application
from server.control.journal_file import JournalFile
from server.control.journal_keeper import DECISIONS_HELD, JournalKeeper
from server.control.journal_mark import read_mark
from server.control.lifecycle_metrics import lifecycle_families
from server.control.plane_reader import PlaneReader
from server.control.registry_projection import JOURNAL_TAG
from server.lifecycle.events import Incident
from server.lifecycle.journal import BrokenJournal, Head, verify
from tests.control.driven_server import NAME, DrivenServer, Workers, new_plane, operation, push, serving, settings_of

STRANGER = "f" * 64
PLAN = json.dumps({"steps": [{"weight": 0.2, "minimum_requests": 300}, {"weight": 0.5, "minimum_requests": 300}]})


class World:
    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.settings = settings_of(folder)
        self.digests = [push(folder / "registry", 1, aliases=("stable",)), push(folder / "registry", 2)]
        self.plane = new_plane()

    @property
    def registry(self) -> FolderRegistry:
        return FolderRegistry(self.state.with_name("registry"))

    def tag(self) -> str:
        return self.registry.model_tags(NAME)[JOURNAL_TAG]

    @property
    def journal(self) -> Path:
        return self.state / "journal.jsonl"

    def living(self, workers: Workers | None = None):  # type: ignore[no-untyped-def]
        return serving(self.settings, self.plane, self.digests[0], workers=workers)

    def fill_disk(self, server: DrivenServer) -> None:
        """Nothing can be written: no folder can be made where a file is."""
        self.state.rename(self.state.with_name("kept"))
        self.state.touch()
        assert server.driver.journal is not None
        server.driver.journal.close()

    def make_room(self) -> None:
        self.state.unlink()
        self.state.with_name("kept").rename(self.state)

    def entries(self) -> list[dict[str, Any]]:
        verify(self.journal.read_bytes())
        return [dict(line.entry) for line in JournalFile(self.state).lines()]

    def revisions(self) -> list[int]:
        return [entry["revision"] for entry in self.entries() if entry["kind"] not in {"incident", "withheld"}]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def read_head(text: str) -> Head:
    mark = read_mark(text)
    assert mark is not None
    return mark.head


async def deploy(server: DrivenServer, request_id: str | None = None) -> Any:
    request = pb.DeployCanaryRequest(operation=operation(request_id), model=NAME, version="2", plan_json=PLAN)
    return await server.stub.DeployCanary(request)


async def written(server: DrivenServer) -> None:
    for box in server.driver.boxes.values():
        assert await box.drained(60)  # on a busy machine a disk is full for so long that the next try is far off


async def lived(world: World) -> Workers:
    """A control process has deployed a canary, written everything, and ended; its workers are still there."""
    async with world.living() as server:
        await deploy(server)
        await written(server)
        return server.workers


async def served_well(server: DrivenServer) -> None:
    """Enough for the plan's next step, and looked at twice since."""
    server.workers.answer(server.route, 4000)
    looks = server.driver.looks
    await server.until(lambda: NAME in looks and looks[NAME].step_requests >= 300)
    seen = [looks[NAME]]
    for _ in range(2):
        await server.until(lambda: looks.get(NAME) is not seen[-1])
        seen.append(looks[NAME])


async def decide(server: DrivenServer, count: int) -> None:
    """So many decisions that touch no traffic."""
    for number in range(count):
        who = operation()
        if number % 2:
            await server.stub.Release(pb.ReleaseRequest(operation=who, digest=STRANGER, model=NAME))
        else:
            await server.stub.Quarantine(pb.QuarantineRequest(operation=who, digest=STRANGER, model=NAME))


def held(server: DrivenServer) -> float:
    (family,) = (one for one in lifecycle_families(server.driver) if one.name == "roost_plans_held")
    return float(family.samples[0].value)


async def test_on_a_full_disk_the_ring_is_kept_for_going_home_and_a_kill_loses_no_decision(world: World) -> None:
    async with world.living() as server:
        await deploy(server)
        await written(server)
        assert held(server) == 0
        world.fill_disk(server)
        before = server.route.revision
        with pytest.raises(aio.AioRpcError, match="journal: expected fewer than") as error:
            await decide(server, 2 * DECISIONS_COUNT)
        assert error.value.code().name == "RESOURCE_EXHAUSTED"
        assert "Make room" in str(error.value.details())
        assert server.route.revision == before + DECISIONS_HELD
        with pytest.raises(aio.AioRpcError, match="journal: expected fewer than"):
            await server.stub.SetTrafficWeights(
                pb.SetTrafficWeightsRequest(operation=operation(), model=NAME, canary_ppm=900_000)
            )
        assert held(server) == 1
        assert "plans" in server.driver.alerts
        await served_well(server)
        assert server.route.canary_ppm == 200_000, "no plan goes further"
        server.workers.answer(server.route, 20_000, canary_errors=1000)
        await server.until(lambda: server.route.canary is None)
        assert world.digests[1] in server.driver.state(NAME).quarantine
        revision, workers = server.route.revision, server.workers
    world.make_room()
    async with world.living(workers) as server:
        await written(server)
        assert world.revisions() == list(range(1, revision + 1))
        assert world.entries()[-1]["kind"] == "went_home"
        assert held(server) == 0
        assert "plans" not in server.driver.alerts


async def test_operators_go_home_although_the_ring_is_nearly_full(world: World) -> None:
    async with world.living() as server:
        await deploy(server)
        await written(server)
        world.fill_disk(server)
        await decide(server, DECISIONS_HELD)
        await server.stub.Rollback(pb.RollbackRequest(operation=operation(), model=NAME, quarantine=True))
        assert server.route.canary is None
        with pytest.raises(aio.AioRpcError, match="journal: expected fewer than"):
            await server.stub.Release(pb.ReleaseRequest(operation=operation(), digest=world.digests[1], model=NAME))
        world.make_room()
        await written(server)
        await server.stub.Release(pb.ReleaseRequest(operation=operation(), digest=world.digests[1], model=NAME))


def test_a_decision_that_leaves_the_ring_unwritten_is_kept_by_the_log(caplog: pytest.LogCaptureFixture) -> None:
    keeper = JournalKeeper(None, lambda _: None, lambda _: None, lambda _: None)
    for revision in range(1, DECISIONS_COUNT + 1):
        keeper.put({"model": NAME, "revision": revision, "kind": "went_home"})
    keeper.put({"model": NAME, "revision": DECISIONS_COUNT, "kind": "incident"})
    assert not caplog.records
    with caplog.at_level(logging.ERROR):
        keeper.put({"model": NAME, "revision": DECISIONS_COUNT + 1, "kind": "went_home"})
    assert [record.fields["entry"]["revision"] for record in caplog.records] == [1]  # type: ignore[attr-defined]


def edited(journal: Path) -> None:
    journal.write_bytes(journal.read_bytes().replace(b'"operator":"ada"', b'"operator":"eve"', 1))


def unreadable(journal: Path) -> None:
    journal.unlink()
    journal.mkdir()  # reading it is an error of the system's, whoever reads


def mend(journal: Path, content: bytes) -> None:
    if journal.is_dir():
        journal.rmdir()
    journal.write_bytes(content)


@pytest.mark.parametrize("life", ["the next control process", "the next server"])
@pytest.mark.parametrize("harm", [edited, unreadable])
async def test_a_journal_that_cannot_be_read_at_the_start_is_not_taken_for_an_empty_one(
    world: World, life: str, harm: Callable[[Path], None]
) -> None:
    async with world.living() as server:
        await deploy(server, "the-id")
        await written(server)
        workers: Workers | None = server.workers
    content = world.journal.read_bytes()
    harm(world.journal)
    harmed = world.journal.read_bytes() if world.journal.is_file() else None
    if life == "the next server":
        world.plane, workers = new_plane(boot=2), None
    async with world.living(workers) as server:
        driver = server.driver
        assert "roost journal verify" in driver.alerts["journal"]
        assert held(server) == 1
        client = TestClient(application(PlaneReader(world.plane), driver, "h:1"))
        ready = client.get("/health/ready").json()
        assert ready["ready"] is True, "serving goes on"
        assert any("roost journal verify" in alert for alert in ready["alerts"])
        await server.until(lambda: server.route.canary is not None)
        await served_well(server)
        assert server.route.canary_ppm == 200_000, "no plan goes further"
        explained = await server.stub.Explain(pb.ExplainRequest(model=NAME))
        assert any("goes no further" in words for words in explained.words)
        await server.stub.Rollback(pb.RollbackRequest(operation=operation(), model=NAME))
        assert server.route.canary is None
        assert (world.journal.read_bytes() if world.journal.is_file() else None) == harmed, "nothing was appended"
        revision = server.route.revision
        mend(world.journal, content)
        await written(server)
        assert world.revisions() == list(range(1, revision + 1)), "each decision once"
        assert world.entries()[-1]["kind"] == "rolled_back"
        assert "journal" not in driver.alerts
        assert held(server) == 0
        await server.until(lambda: "the-id" in dict(driver.requests_done))
        assert (await deploy(server, "the-id")).replayed, "what was done before is remembered"


async def test_a_broken_journal_that_is_moved_away_is_followed_by_a_new_one_with_all_that_the_plane_has(
    world: World,
) -> None:
    workers = await lived(world)
    edited(world.journal)
    async with world.living(workers) as server:
        world.journal.rename(world.journal.with_name("journal.broken"))
        await written(server)
        assert world.revisions() == [1, 2, 3]
        await served_well(server)
        await server.until(lambda: server.route.canary_ppm == 500_000)


def cut(journal: Path, lines_count: int) -> None:
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-lines_count]))


async def noted(server: DrivenServer) -> None:
    now_ns, at_utc = server.driver.now()
    detail = "a worker ended"
    stable = server.digest("stable")
    assert stable is not None
    await server.driver.apply(NAME, Incident(now_ns=now_ns, at_utc=at_utc, digest=stable, detail=detail))


@pytest.mark.parametrize("life", ["the next control process", "the next server"])
@pytest.mark.parametrize("remedy", ["the whole file is put back", "the short one is moved away"])
async def test_a_journal_that_was_cut_off_is_found_by_the_registrys_anchor(
    world: World, life: str, remedy: str
) -> None:
    async with world.living() as server:
        await deploy(server, "the-id")
        await noted(server)  # which the plane does not keep
        await decide(server, 1)
        await written(server)
        workers: Workers | None = server.workers
    content, anchored = world.journal.read_bytes(), world.tag()
    cut(world.journal, 2)
    if life == "the next server":
        world.plane, workers = new_plane(boot=2), None
    async with world.living(workers) as server:
        driver = server.driver
        await server.until(lambda: bool(driver.keeper.unread) and server.route.canary is not None)
        assert "roost.journal says" in driver.alerts["journal"]
        assert "Put the whole file back" in driver.alerts["journal"]
        assert held(server) == 1
        assert "plans" in driver.alerts
        box = driver.keeper.box
        await server.until(lambda: box._items.keys() == box._due_s.keys())  # what was begun before it was found out
        short = world.journal.read_bytes()
        await server.stub.Release(pb.ReleaseRequest(operation=operation(), digest=STRANGER, model=NAME))
        await noted(server)
        await asyncio.sleep(0.5)
        assert world.journal.read_bytes() == short, "nothing is appended"
        assert world.tag() == anchored, "the anchor stays"
        told = await server.stub.GetJournal(pb.GetJournalRequest())
        assert anchored.startswith(told.head)
        with pytest.raises(BrokenJournal, match="as the anchor says"):
            verify(short, read_head(told.head))
        revision = server.route.revision
        if remedy.startswith("the whole"):
            world.journal.write_bytes(content)
        else:
            world.journal.rename(world.journal.with_name("journal.short"))
        await server.until(lambda: not driver.keeper.unread)
        await written(server)
        assert "journal" not in driver.alerts
        assert held(server) == 0
        kinds = [entry["kind"] for entry in world.entries()]
        assert kinds[-2:] == ["released", "incident"]
        if remedy.startswith("the whole"):
            assert world.revisions() == list(range(1, revision + 1)), "each decision once"
            assert world.journal.read_bytes().startswith(content)
        else:
            assert world.revisions()[-1] == revision
        assert world.tag().startswith(str(verify(world.journal.read_bytes())))
        assert (await deploy(server, "the-id")).replayed, "what was done before is remembered"
        await written(server)
        workers = server.workers
    async with world.living(workers) as server:
        await written(server)
        assert "journal" not in server.driver.alerts


async def test_a_journal_that_is_cut_off_while_the_server_runs_is_not_what_the_server_says_it_wrote(
    world: World,
) -> None:
    async with world.living() as server:
        await deploy(server)
        await written(server)
        cut(world.journal, 1)
        told = await server.stub.GetJournal(pb.GetJournalRequest())
        assert read_head(told.head).number == 3
        with pytest.raises(BrokenJournal, match="expected 3 lines"):
            verify(world.journal.read_bytes(), read_head(told.head))


@pytest.mark.parametrize("tag", ["somebody's own", "99:" + "a" * 64, "99:" + "a" * 64 + ":" + "b" * 12])
async def test_another_servers_anchor_is_no_reason_to_distrust_this_ones_journal(world: World, tag: str) -> None:
    world.registry.set_model_tag(NAME, JOURNAL_TAG, tag)
    async with world.living() as server:
        await deploy(server)
        await written(server)
        assert not server.driver.alerts
        assert world.tag().startswith(str(verify(world.journal.read_bytes())))


async def test_a_registry_that_does_not_answer_keeps_no_journal_from_being_written_and_its_anchor_is_read_later(
    world: World,
) -> None:
    workers = await lived(world)
    cut(world.journal, 1)
    root = world.state.with_name("registry")
    root.rename(root.with_name("away"))
    root.touch()
    async with world.living(workers) as server:
        await server.stub.Rollback(pb.RollbackRequest(operation=operation(), model=NAME))
        assert await server.driver.keeper.box.drained(60)
        assert world.entries()[-1]["kind"] == "rolled_back"
        root.unlink()
        root.with_name("away").rename(root)
        await server.until(lambda: not server.driver.registry.box.pending)
        # The plane has what was cut off, so that the same line was written again: the journal is whole.
        assert not server.driver.keeper.unread
        assert world.revisions() == [1, 2, 3, 4]


async def test_a_torn_tail_is_no_harm(world: World) -> None:
    workers = await lived(world)
    world.journal.write_bytes(world.journal.read_bytes()[:-20])
    async with world.living(workers) as server:
        await written(server)
        assert world.revisions() == [1, 2, 3], "the last one was written again"
        assert not server.driver.alerts
