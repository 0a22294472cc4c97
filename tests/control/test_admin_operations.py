"""roost.v1.Admin over gRPC: every refusal names the field and what to do, and each call acts once."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from server.control.operations import servicer
from server.control.operations.servicer import AdminServicer
from server.processes import ModelPin
from server.settings import Settings
from tests.control.driven_server import NAME, DrivenServer, Workers, new_plane, operation, push, serving, settings_of

pb = admin_pb2
MUTATING: dict[str, Callable[[pb.Operation | None, str], Any]] = {
    "DeployCanary": lambda who, name: pb.DeployCanaryRequest(operation=who, model=name, version="2"),
    "SetTrafficWeights": lambda who, name: pb.SetTrafficWeightsRequest(operation=who, model=name, canary_ppm=1),
    "SetShadow": lambda who, name: pb.SetShadowRequest(operation=who, model=name, version="2"),
    "Promote": lambda who, name: pb.PromoteRequest(operation=who, model=name),
    "Rollback": lambda who, name: pb.RollbackRequest(operation=who, model=name),
    "Quarantine": lambda who, name: pb.QuarantineRequest(operation=who, digest="a" * 64, model=name),
    "Release": lambda who, name: pb.ReleaseRequest(operation=who, digest="a" * 64, model=name),
    "Freeze": lambda who, name: pb.FreezeRequest(operation=who, model=name),
    "Unfreeze": lambda who, name: pb.UnfreezeRequest(operation=who, model=name),
    "Pause": lambda who, name: pb.PauseRequest(operation=who, model=name),
    "Resume": lambda who, name: pb.ResumeRequest(operation=who, model=name),
}
LOOKING = {
    "DescribeModel": pb.DescribeModelRequest,
    "GetEvidence": pb.GetEvidenceRequest,
    "GetDrift": pb.GetDriftRequest,
    "Explain": pb.ExplainRequest,
    "GetJournal": pb.GetJournalRequest,
}


class World:
    def __init__(self, folder: Path) -> None:
        root = folder / "registry"
        self.settings = settings_of(folder)
        self.digests = [push(root, 1, aliases=("stable",)), push(root, 2), push(root, 3, width=4)]

    def serving(self):  # type: ignore[no-untyped-def]
        return serving(self.settings, new_plane(), self.digests[0])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def refused(server: DrivenServer, method: str, request: Any) -> tuple[str, str]:
    with pytest.raises(aio.AioRpcError) as error:
        await getattr(server.stub, method)(request)
    return error.value.code().name, str(error.value.details())


def test_every_method_of_the_service_is_written_out() -> None:
    methods = pb.DESCRIPTOR.services_by_name["Admin"].methods_by_name
    for name in methods:
        assert getattr(AdminServicer, name) is not getattr(admin_pb2_grpc.AdminServicer, name)
    assert {*MUTATING, *LOOKING, "ListModels", "WatchEvents"} == set(methods)


async def test_a_change_without_an_author_a_reason_or_an_id_is_refused_naming_the_field(world: World) -> None:
    lacking = {
        "operation.operator": pb.Operation(reason="r", request_id="i"),
        "operation.reason": pb.Operation(operator="o", reason="  ", request_id="i"),
        "operation.request_id": pb.Operation(operator="o", reason="r"),
        "operation.if_revision": pb.Operation(operator="o", reason="r", request_id="i", if_revision=-1),
    }
    async with world.serving() as server:
        for method, request in MUTATING.items():
            for field, who in lacking.items():
                code, text = await refused(server, method, request(who, NAME))
                assert (code, text.split(":")[0]) == ("INVALID_ARGUMENT", field), (method, text)
            code, text = await refused(server, method, request(None, NAME))
            assert (code, text.split(":")[0]) == ("INVALID_ARGUMENT", "operation.operator")
        shouting = pb.Operation(operator="a\x1b[2J", reason="r", request_id="i")
        code, text = await refused(server, "Promote", pb.PromoteRequest(operation=shouting, model=NAME))
        assert "\x1b" not in text
        assert server.driver.state(NAME).revision == 1


async def test_a_model_that_is_not_served_is_not_found_and_those_that_are_get_named(world: World) -> None:
    async with world.serving() as server:
        for method, make in MUTATING.items():
            code, text = await refused(server, method, make(operation(), "other"))
            assert code == "NOT_FOUND", method
            assert NAME in text
        for method, request in LOOKING.items():
            code, text = await refused(server, method, request(model="other"))
            assert code == "NOT_FOUND", method
        call = server.stub.WatchEvents(pb.WatchEventsRequest(model="other"))
        with pytest.raises(aio.AioRpcError, match="one that is served"):
            await anext(aiter(call))


async def test_a_version_of_another_digest_than_was_asked_for_is_refused_naming_both(world: World) -> None:
    """Its registry may have been told another thing under the same number."""
    async with world.serving() as server:
        other, meant = "c" * 64, world.digests[1]
        request = pb.DeployCanaryRequest(operation=operation(), model=NAME, version="2", digest=other, no_wait=True)
        code, details = await refused(server, "DeployCanary", request)
        assert code == "FAILED_PRECONDITION"
        assert f"digest: expected {other}, as was asked for, got {meant}" in details
        asked = pb.DeployCanaryRequest(operation=operation(), model=NAME, version="2", digest=meant, no_wait=True)
        reply = await server.stub.DeployCanary(asked)
        assert reply.models[0].canary.digest == meant


async def test_a_stale_revision_is_aborted_naming_the_current_one(world: World) -> None:
    async with world.serving() as server:
        for method in ("Freeze", "Promote", "DeployCanary", "SetShadow", "Rollback"):
            code, text = await refused(server, method, MUTATING[method](operation(if_revision=7), NAME))
            assert code == "ABORTED", method
            assert "expected 1, the current one of doubling, got 7" in text
        await server.stub.Freeze(pb.FreezeRequest(operation=operation(if_revision=1), model=NAME))
        assert server.driver.state(NAME).frozen


@pytest.mark.parametrize("ppm", [-1, 1_000_001, None, -(2**63), 2**63 - 1])
async def test_a_weight_outside_0_and_100_percent_is_refused(world: World, ppm: int | None) -> None:
    async with world.serving() as server:
        request = pb.SetTrafficWeightsRequest(operation=operation(), model=NAME, canary_ppm=ppm)
        assert (await refused(server, "SetTrafficWeights", request))[0] == "INVALID_ARGUMENT"
        if ppm is not None:
            deploy = pb.DeployCanaryRequest(operation=operation(), model=NAME, version="2", weight_ppm=ppm)
            assert (await refused(server, "DeployCanary", deploy))[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        ("{", "plan_json"),
        ("[" * 5000, "plan_json"),
        ('{"steps": []}', "plan.steps"),
        ('{"steps": [{"weight": 1.5}]}', "plan.steps[0].weight"),
        ('{"steps": [{"weight": NaN}]}', "plan.steps[0].weight"),
        ('{"steps": [{"weight": 0.5}, {"weight": 0.1}]}', "plan.steps[1].weight"),
        ('{"steps": [{"weight": 0.5}], "speed": 1}', "plan.speed"),
        (json.dumps({"steps": [{"weight": 0.5}], "x": "y" * 20_000}), "plan_json"),
    ],
    ids=range(8),
)
async def test_a_bad_plan_is_refused_naming_the_key(world: World, plan: str, named: str) -> None:
    async with world.serving() as server:
        request = pb.DeployCanaryRequest(operation=operation(), model=NAME, version="2", plan_json=plan)
        code, text = await refused(server, "DeployCanary", request)
        assert code == "INVALID_ARGUMENT"
        assert text.startswith(named)


async def test_versions_that_are_not_there_or_have_another_signature_are_refused(world: World) -> None:
    async with world.serving() as server:
        for version, code, said in (
            ("9", "NOT_FOUND", "newest: 1, 2, 3"),
            ("@canary", "NOT_FOUND", "@canary"),
            ("", "INVALID_ARGUMENT", "version: expected a version's number"),
            ("../../etc", "INVALID_ARGUMENT", "version: expected a version's number"),
            ("1", "FAILED_PRECONDITION", "another artifact than the stable's"),
            (
                "3",
                "FAILED_PRECONDITION",
                "inputs.x: expected FP32 [-1, 3] as in the stable version 1, got FP32 [-1, 4]",
            ),
        ):
            request = pb.DeployCanaryRequest(operation=operation(), model=NAME, version=version)
            got = await refused(server, "DeployCanary", request)
            assert got[0] == code, got
            assert said in got[1]
        assert server.driver.state(NAME).revision == 1


async def test_the_same_request_id_acts_once_and_with_other_content_it_is_refused(world: World) -> None:
    async with world.serving() as server:
        first = await server.stub.Freeze(pb.FreezeRequest(operation=operation("one"), model=NAME))
        again = await server.stub.Freeze(pb.FreezeRequest(operation=operation("one"), model=NAME))
        assert (first.replayed, again.replayed) == (False, True)
        assert again.models[0].revision == first.models[0].revision == 2
        code, text = await refused(server, "Unfreeze", pb.UnfreezeRequest(operation=operation("one"), model=NAME))
        assert code == "INVALID_ARGUMENT"
        assert text.startswith("operation.request_id")


async def test_a_digest_may_be_begun_and_must_be_one(world: World) -> None:
    async with world.serving() as server:
        await server.until(lambda: len(server.driver.state(NAME).known) == 3)
        for digest, code in (("abc", "INVALID_ARGUMENT"), ("z" * 64, "INVALID_ARGUMENT"), ("0" * 12, "NOT_FOUND")):
            request = pb.QuarantineRequest(operation=operation(), digest=digest)
            assert (await refused(server, "Quarantine", request))[0] == code
        await server.stub.Quarantine(pb.QuarantineRequest(operation=operation(), digest=world.digests[1][:10].upper()))
        assert set(server.driver.state(NAME).quarantine) == {world.digests[1]}
        unseen = "f" * 64
        await server.stub.Quarantine(pb.QuarantineRequest(operation=operation(), digest=unseen, model=NAME))
        request = pb.DeployCanaryRequest(operation=operation(), model=NAME, version="2")
        code, text = await refused(server, "DeployCanary", request)
        assert code == "FAILED_PRECONDITION"
        assert "a test" in text, "the reason of its quarantine"
        await server.stub.Release(pb.ReleaseRequest(operation=operation(), digest=unseen))
        assert set(server.driver.state(NAME).quarantine) == {world.digests[1]}


async def test_events_can_be_watched_and_taken_up_again_where_they_were_left(world: World) -> None:
    async with world.serving() as server:
        watch = server.stub.WatchEvents(pb.WatchEventsRequest())
        events = aiter(watch)
        pending = asyncio.ensure_future(anext(events))
        await server.until(lambda: server.servicer._watchers == 1)
        await server.stub.Freeze(pb.FreezeRequest(operation=operation(), model=NAME))
        first = await asyncio.wait_for(pending, 30)
        assert (first.kind, first.model) == ("decision", NAME)
        assert json.loads(first.detail_json)["kind"] == "frozen"
        watch.cancel()
        await server.stub.Unfreeze(pb.UnfreezeRequest(operation=operation(), model=NAME))
        again = server.stub.WatchEvents(pb.WatchEventsRequest(after_sequence=first.sequence, model=NAME))
        assert "allowed again" in (await asyncio.wait_for(anext(aiter(again)), 30)).text


async def test_one_watcher_too_many_is_refused_and_those_that_leave_make_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer, "WATCHERS_MAX", 2)
    async with world.serving() as server:
        calls = [server.stub.WatchEvents(pb.WatchEventsRequest(after_sequence=1)) for _ in range(2)]
        for call in calls:
            await asyncio.wait_for(anext(aiter(call)), 30)
        with pytest.raises(aio.AioRpcError, match="watchers"):
            await anext(aiter(server.stub.WatchEvents(pb.WatchEventsRequest(after_sequence=1))))
        for call in calls:
            call.cancel()
        await server.until(lambda: server.servicer._watchers == 0)
        await asyncio.wait_for(anext(aiter(server.stub.WatchEvents(pb.WatchEventsRequest(after_sequence=1)))), 30)


async def test_the_journal_tells_what_served_when(world: World) -> None:
    async with world.serving() as server:
        await server.stub.DeployCanary(
            pb.DeployCanaryRequest(operation=operation(), model=NAME, version="2", weight_ppm=50_000)
        )
        between = server.driver.now()[1]
        await asyncio.sleep(0.01)
        await server.stub.Promote(pb.PromoteRequest(operation=operation(), model=NAME))
        assert await server.driver.keeper.box.drained(5)
        reply = await server.stub.GetJournal(pb.GetJournalRequest(at_utc=between, limit=2))
        assert [entry.cause for entry in reply.entries] == ["canary_started", "promoted"]
        assert reply.entries[-1].operator == "ada"
        assert reply.head.startswith("4:")
        (then,) = reply.served
        assert (then.stable.version, then.canary.version, then.weight_ppm) == ("1", "2", 50_000)
        for bad in ({"at_utc": "yesterday"}, {"limit": -1}, {"limit": 1001}):
            assert (await refused(server, "GetJournal", pb.GetJournalRequest(**bad)))[0] == "INVALID_ARGUMENT"


async def test_the_registry_being_down_is_unavailable_and_nothing_is_disturbed(world: World, tmp_path: Path) -> None:
    async with world.serving() as server:
        index = tmp_path / "registry/models/doubling.json"
        index.write_text("{")
        request = pb.DeployCanaryRequest(operation=operation(), model=NAME, version="2")
        assert (await refused(server, "DeployCanary", request))[0] in ("FAILED_PRECONDITION", "UNAVAILABLE")
        await server.until(lambda: any("registry" in key for key in server.driver.alerts))
        listed = await server.stub.ListModels(pb.ListModelsRequest())
        assert listed.models[0].serving
        assert any("registry" in alert for alert in listed.alerts)


async def test_a_shadow_is_set_and_lifted(world: World) -> None:
    async with world.serving() as server:
        await server.stub.SetShadow(pb.SetShadowRequest(operation=operation(), model=NAME, version="2"))
        assert server.digest("shadow") == world.digests[1]
        await server.stub.SetShadow(pb.SetShadowRequest(operation=operation(), model=NAME))
        assert server.digest("shadow") is None
        server.refused[world.digests[1]] = "took more than its memory"
        request = pb.SetShadowRequest(operation=operation(), model=NAME, version="2")
        assert "took more than its memory" in (await refused(server, "SetShadow", request))[1]


@pytest.mark.parametrize("cut_at", [1, 2, 3])
@pytest.mark.parametrize("method", ["Freeze", "Quarantine"])
async def test_what_a_crash_cut_off_among_many_models_is_finished_when_it_is_asked_again(
    world: World, method: str, cut_at: int
) -> None:
    others = [ModelPin(name=name, version="1", digest=world.digests[0]) for name in ("second", "third")]
    files = [{"name": pin.name, "onnx": "model.onnx"} for pin in others]
    settings = Settings.model_validate({**world.settings.model_dump(), "models": [{"name": NAME}, *files]})
    plane = new_plane()

    def living(workers: Workers | None = None):  # type: ignore[no-untyped-def]
        return serving(settings, plane, world.digests[0], workers=workers, others=others)

    async def ask(server: DrivenServer) -> Any:
        who = operation("all-of-them")
        if method == "Freeze":
            return await server.stub.Freeze(pb.FreezeRequest(operation=who))
        return await server.stub.Quarantine(pb.QuarantineRequest(operation=who, digest=world.digests[0]))

    def done(server: DrivenServer) -> list[bool]:
        states = [server.driver.state(name) for name in server.driver.models]
        return [state.frozen if method == "Freeze" else world.digests[0] in state.quarantine for state in states]

    async with living() as server:
        publish = server.driver.publisher.publish_soon

        async def publish_until_killed(*args: Any, **named: Any) -> int:
            if sum(done(server)) >= cut_at - 1:  # a killed process does nothing more, whoever asks
                await asyncio.Event().wait()
            return await publish(*args, **named)

        server.driver.publisher.publish_soon = publish_until_killed
        call = asyncio.ensure_future(ask(server))
        await server.until(lambda: sum(done(server)) == cut_at - 1)
        workers = server.workers
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    async with living(workers) as server:
        assert sum(done(server)) == cut_at - 1
        reply = await ask(server)
        assert not reply.replayed
        assert all(done(server)), done(server)
        workers = server.workers
    async with living(workers) as server:
        reply = await ask(server)
        assert reply.replayed, "all of it is done, and remembered over a restart"
        assert [state.name for state in reply.models] == [NAME, "second", "third"]
