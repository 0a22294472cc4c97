"""The driver: what is decided is in the plane, then in the journal and the registry, over every kind of end."""

import asyncio
import json
from pathlib import Path

import pytest
from grpc import aio

from native.plane.evidence import first_event
from native.plane.layout import HEADER_CRASH_GENERATION, HEADER_CRASH_SEAT, HEADER_CRASHES, WorkerState
from native.plane.seats import SeatTable
from protos.roost.v1 import admin_pb2
from server.lifecycle.documents import TAG, read_document
from server.lifecycle.journal import verify
from tests.control.driven_server import (
    NAME,
    DrivenServer,
    new_plane,
    operation,
    serving,
)
from tests.control.driven_world import World, deploy, written


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_the_first_routes_are_the_pins_and_the_journal_says_so(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        assert server.digest("stable") == world.digests[0]
        assert server.route.stable is not None
        assert (server.route.stable.seat, server.route.stable.generation) == (0, 1)
        await written(server)
        assert world.kinds() == ["started"]


async def test_a_canary_is_deployed_flipped_and_promoted_and_everything_agrees(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        state = await deploy(server)
        assert state.canary.digest == server.digest("canary") == world.digests[1]
        assert state.weight_ppm == server.route.canary_ppm == 100_000
        epoch = server.route.weight_epoch
        await server.stub.SetTrafficWeights(
            admin_pb2.SetTrafficWeightsRequest(operation=operation(), model=NAME, canary_ppm=500_000)
        )
        assert server.route.canary_ppm == 500_000
        assert server.route.weight_epoch == epoch + 1
        reply = await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        assert reply.models[0].stable.version == "2"
        assert server.digest("stable") == world.digests[1]
        assert server.digest("last_safe") == world.digests[0]
        await written(server)
        assert world.aliases() == {"stable": 2, "last_safe": 1}
        assert world.kinds() == ["started", "canary_deployed", "canary_started", "weight_set", "promoted"]
        document = read_document(world.registry.model_tags(NAME)[TAG])
        assert (document.revision, document.stable) == (server.route.revision, world.digests[1])
        reply = await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        assert server.digest("stable") == world.digests[0]


async def test_a_canary_that_is_worse_comes_home_by_itself_and_is_not_let_in_again(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server, ppm=200_000)
        for _ in range(20):
            server.workers.answer(server.route, 500, canary_errors=20)
            await asyncio.sleep(0.02)
            if server.route.canary is None:
                break
        await server.until(lambda: server.route.canary is None)
        assert world.digests[1] in server.driver.state(NAME).quarantine
        await written(server)
        assert world.kinds()[-1] == "went_home"
        assert "canary" not in world.aliases()
        explained = await server.stub.Explain(admin_pb2.ExplainRequest(model=NAME))
        assert any("Worse than the stable beside it, by errors" in words for words in explained.words)
        with pytest.raises(aio.AioRpcError, match="quarantine"):
            await deploy(server)
        evidence = await server.stub.GetEvidence(admin_pb2.GetEvidenceRequest(model=NAME))
        assert evidence.verdict == "worse"
        assert evidence.e_worse == json.loads(evidence.judgement_json)["e_worse"] >= 100
        assert evidence.signals[0].canary_events >= 20
        kept = world.folder / "state/evidence.json"
        await server.until(lambda: kept.exists() and world.digests[1] in kept.read_text())
        await asyncio.sleep(2.5)  # what was counted last is kept, too
        workers = server.workers
    async with serving(world.settings, world.plane, world.digests[0], workers=workers) as server:
        await server.until(lambda: NAME in server.driver.last_looks)
        recalled = await server.stub.GetEvidence(admin_pb2.GetEvidenceRequest(model=NAME))
        assert recalled.verdict == "worse", "the next control process knows it, too"
        assert recalled.signals[0].canary_events == evidence.signals[0].canary_events
        explained = await server.stub.Explain(admin_pb2.ExplainRequest(model=NAME))
        assert any("Worse than the stable beside it, by errors" in words for words in explained.words)


async def test_a_good_canary_is_promoted_by_its_plan_step_by_step(world: World) -> None:
    plan = '{"steps": [{"weight": 0.2, "minimum_requests": 300}, {"weight": 0.5, "minimum_requests": 300}]}'
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await server.stub.DeployCanary(
            admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version="2", plan_json=plan)
        )
        weights = set()
        for _ in range(400):
            weights.add(server.route.canary_ppm)
            if server.route.canary is None:
                break
            server.workers.answer(server.route, 400, worker=1)
            await asyncio.sleep(0.01)
        assert weights == {200_000, 500_000, 0}
        assert server.digest("stable") == world.digests[1]
        assert server.digest("last_safe") == world.digests[0]


@pytest.mark.parametrize("where", ["trial", "worker"])
async def test_a_version_that_cannot_be_loaded_is_refused_with_the_reason_and_traffic_is_untouched(
    world: World, where: str
) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        before = server.route
        refuses = server.refused if where == "trial" else server.workers.refuses
        refuses[world.digests[1]] = "crashed by SIGSEGV while loading"
        with pytest.raises(aio.AioRpcError, match="SIGSEGV") as error:
            await deploy(server)
        assert error.value.code().name == "FAILED_PRECONDITION"
        assert server.route.canary is None
        assert (server.route.stable, server.route.weight_epoch) == (before.stable, before.weight_epoch)
        await written(server)
        assert world.kinds() == ["started", "canary_deployed", "canary_refused"]
        await server.until(lambda: server.driver.seating.find(0, world.digests[1]) is None)
        del refuses[world.digests[1]]
        assert (await deploy(server)).canary.version == "2"


async def test_a_crash_in_a_canarys_run_takes_it_home(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        canary = server.route.canary
        assert canary is not None
        header = world.plane.block(1).header
        header[HEADER_CRASH_SEAT], header[HEADER_CRASH_GENERATION] = canary.seat + 1, canary.generation
        SeatTable(world.plane).ban(canary.seat, canary.generation)
        header[HEADER_CRASHES] += 1
        await server.until(lambda: server.route.canary is None)
        assert world.digests[1] in server.driver.state(NAME).quarantine


async def test_a_crash_while_control_was_dead_takes_the_canary_home_too(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        canary, workers = server.route.canary, server.workers
    assert canary is not None
    SeatTable(world.plane).ban(canary.seat, canary.generation)
    async with serving(world.settings, world.plane, world.digests[0], workers=workers) as server:
        await server.until(lambda: server.route.canary is None)
        assert world.digests[1] in server.driver.state(NAME).quarantine


async def test_a_killed_control_process_is_followed_by_one_that_knows_everything(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        server.workers.answer(server.route, 1000)
        await server.until(
            lambda: NAME in server.driver.looks and server.driver.looks[NAME].judgement.canary_requests == 100
        )
        server.driver.evidence_box.put("evidence", server.driver.book.encode())
        await written(server)
        before, workers = server.driver.state(NAME), server.workers
        route = server.route
    async with serving(world.settings, world.plane, world.digests[0], workers=workers) as server:
        after = server.driver.state(NAME)
        assert after.canary is not None
        assert (after.canary.id, after.canary.started, after.revision) == (before.canary.id, True, before.revision)
        assert server.route == route, "nothing was published anew"
        server.workers.answer(server.route, 1000)
        await server.until(
            lambda: NAME in server.driver.looks and server.driver.looks[NAME].judgement.canary_requests == 200
        )
        await written(server)
        assert world.kinds() == ["started", "canary_deployed", "canary_started"]


async def test_what_a_killed_process_had_not_written_is_written_by_the_next_one(world: World) -> None:
    state = world.folder / "state"
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await written(server)
        await deploy(server)
        await written(server)
        state.rename(world.folder / "gone")
        state.touch()  # no folder can be made there: the disk is as good as full
        assert server.driver.journal is not None
        server.driver.journal.close()
        world.root.rename(world.folder / "registry-gone")
        reply = await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation("the-id"), model=NAME))
        assert server.route.canary is None, "going home waits for no disk and no registry"
        await server.until(lambda: bool(server.driver.alerts))
        assert server.driver.keeper.box.pending == 1
        workers = server.workers
    state.unlink()
    (world.folder / "gone").rename(state)
    (world.folder / "registry-gone").rename(world.root)
    async with serving(world.settings, world.plane, world.digests[0], workers=workers) as server:
        await written(server)
        assert world.kinds() == ["started", "canary_deployed", "canary_started", "rolled_back"]
        assert world.aliases() == {"stable": 1}
        again = await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation("the-id"), model=NAME))
        assert again.replayed
        assert again.models[0].revision == reply.models[0].revision


async def test_a_server_that_starts_again_goes_on_with_its_rollout_and_its_weight(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        await server.stub.SetTrafficWeights(
            admin_pb2.SetTrafficWeightsRequest(operation=operation(), model=NAME, canary_ppm=300_000)
        )
        await written(server)
        rollout = server.driver.state(NAME).canary
    assert rollout is not None
    plane = new_plane(boot=2)
    async with serving(world.settings, plane, world.digests[0]) as server:
        await server.until(lambda: server.route.canary is not None)
        now = server.driver.state(NAME).canary
        assert now is not None
        assert (now.id, now.salt, server.route.salt) == (rollout.id, rollout.salt, rollout.salt)
        assert server.route.canary_ppm == 300_000
        await written(server)
        assert world.kinds()[-2:] == ["started", "canary_started"]
        assert verify((world.folder / "state/journal.jsonl").read_bytes()).number == 6


async def test_a_quarantined_version_is_not_served_although_the_start_names_it(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        await server.stub.Quarantine(
            admin_pb2.QuarantineRequest(operation=operation(), digest=world.digests[0][:12], model=NAME)
        )
        await written(server)
    async with serving(world.settings, new_plane(boot=2), world.digests[0]) as server:
        assert server.digest("stable") is None
        await server.until(lambda: server.route.stable is not None)
        assert server.digest("stable") == world.digests[1]


async def test_nothing_safe_left_is_said_with_the_reason_and_release_brings_it_back(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        for digest in world.digests:
            await server.stub.Quarantine(admin_pb2.QuarantineRequest(operation=operation(), digest=digest, model=NAME))
        await server.until(lambda: server.route.stable is None)
        described = await server.stub.DescribeModel(admin_pb2.DescribeModelRequest(model=NAME))
        assert not described.model.serving
        assert "no safe version is left" in described.model.message
        assert server.driver.not_serving()
        await server.stub.Release(admin_pb2.ReleaseRequest(operation=operation(), digest=world.digests[2]))
        await server.until(lambda: server.digest("stable") == world.digests[2])
        assert server.driver.not_serving() == ()


async def test_a_fleets_quarantine_is_followed_and_a_release_here_stands(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        await written(server)
        tags = world.registry.model_tags(NAME)
        document = read_document(tags[TAG])
        theirs = {**vars(document), "quarantine": {world.digests[1]: "bad elsewhere"}}
        world.registry.set_model_tag(NAME, TAG, type(document)(**theirs).to_text())
        await server.until(lambda: server.route.canary is None)
        assert server.driver.state(NAME).quarantine == {world.digests[1]: "bad elsewhere"}
        await server.stub.Release(admin_pb2.ReleaseRequest(operation=operation(), digest=world.digests[1][:8]))
        await written(server)
        await asyncio.sleep(0.4)  # looks at the registry
        assert server.driver.state(NAME).quarantine == {}
        assert read_document(world.registry.model_tags(NAME)[TAG]).quarantine == {}


async def test_memory_over_the_limit_takes_the_canary_home(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        monkeypatch.setattr(server.driver.incidents, "resident_bytes", lambda block: 1 << 50)
        await server.until(lambda: server.route.canary is None)
        assert "worker_memory_bytes_max" in server.driver.state(NAME).quarantine[world.digests[1]]
        with pytest.raises(aio.AioRpcError, match="memory: expected at most"):
            await deploy(server, version="3")


async def test_a_freeze_keeps_a_bad_canary_and_an_operator_still_takes_it_back(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server, ppm=200_000)
        await server.stub.Freeze(admin_pb2.FreezeRequest(operation=operation()))
        server.workers.answer(server.route, 5000, canary_errors=500)
        await server.until(
            lambda: NAME in server.driver.looks and server.driver.looks[NAME].judgement.verdict == "worse"
        )
        await asyncio.sleep(0.1)
        assert server.route.canary is not None
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME, quarantine=True))
        assert server.route.canary is None
        assert world.digests[1] in server.driver.state(NAME).quarantine


@pytest.mark.parametrize("what", ["canary", "shadow"])
async def test_a_load_that_no_worker_is_there_for_is_refused_in_time_and_journalled_and_its_seat_is_free(
    world: World, what: str
) -> None:
    settings = world.settings.model_copy(
        update={"trial": world.settings.trial.model_copy(update={"load_timeout_s": 1.0})}
    )
    async with serving(settings, world.plane, world.digests[0]) as server:
        for index in range(world.plane.workers):
            world.plane.block(index).enter(WorkerState.DEAD)
        shadow = admin_pb2.SetShadowRequest(operation=operation(), model=NAME, version="2")
        with pytest.raises(aio.AioRpcError, match="workers: expected one that serves") as error:
            await (deploy(server) if what == "canary" else server.stub.SetShadow(shadow))
        assert error.value.code().name == "UNAVAILABLE"
        assert "trial.load_timeout_s" in str(error.value.details())
        assert server.driver.seating.find(0, world.digests[1]) is None
        await written(server)
        assert world.kinds()[-1] == f"{what}_refused"
        for index in range(world.plane.workers):
            world.plane.block(index).enter(WorkerState.READY)
        assert (await deploy(server)).canary.version == "2"


async def test_what_is_to_serve_waits_for_the_workers_as_long_as_it_takes(world: World) -> None:
    settings = world.settings.model_copy(
        update={"trial": world.settings.trial.model_copy(update={"load_timeout_s": 0.3})}
    )
    async with serving(settings, world.plane, world.digests[0]) as server:
        await server.until(lambda: len(server.driver.state(NAME).known) == 3)
        for index in range(world.plane.workers):
            world.plane.block(index).enter(WorkerState.DEAD)
        await server.stub.Quarantine(
            admin_pb2.QuarantineRequest(operation=operation(), digest=world.digests[0], model=NAME)
        )
        await asyncio.sleep(0.8)
        coming = server.driver.state(NAME).coming
        assert coming is not None
        assert coming.digest == world.digests[2], "the newest one was not given up"
        for index in range(world.plane.workers):
            world.plane.block(index).enter(WorkerState.READY)
        await server.until(lambda: server.digest("stable") == world.digests[2])


async def test_a_keys_event_counts_once_for_a_digest_however_often_it_is_deployed(world: World) -> None:
    def counts(key: int) -> bool:
        return bool(first_event(world.plane.routing, 0, key))

    async def take_back(server: DrivenServer) -> None:
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))

    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server, "2")
        assert counts(7)
        await take_back(server)
        await deploy(server, "2")
        assert not counts(7), "its evidence goes on"
        await take_back(server)
        await deploy(server, "3")
        assert counts(7), "another digest's begins"
        workers = server.workers
    async with serving(world.settings, world.plane, world.digests[0], workers=workers) as server:
        assert not counts(7), "the next control process"
        await take_back(server)
        await deploy(server, "3")
        assert not counts(7)
        await take_back(server)
        await deploy(server, "2")
        assert counts(7), "these were the other one's"
