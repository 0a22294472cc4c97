"""The driver and its registry: it is told what is decided, whatever ends meanwhile and whoever moves aliases."""

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from protos.roost.v1 import admin_pb2
from registry_client.folder import FolderRegistry
from server.cli.pinning import SERVED_FILE, pin_models
from server.control import registry_teller, state_folder
from server.control.journal_file import JournalFile
from server.control.journal_mark import JournalMark, read_mark
from server.control.registry_projection import JOURNAL_TAG
from server.control.state_folder import STATES, KeptState, StateFolder
from server.lifecycle.documents import TAG, read_document
from server.lifecycle.events import Incident
from server.lifecycle.journal import Head, verify
from server.lifecycle.state import Artifact, ModelState
from server.processes import ModelPin
from server.settings import ModelSettings
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


async def told_of_nothing_more(world: World, server: DrivenServer) -> None:
    """v2 is promoted; then the registry is away, and v1 is gone back to."""
    await deploy(server)
    await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
    await written(server)
    world.registry_leaves()
    await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
    assert server.digest("stable") == world.digests[0]
    await server.until(lambda: "registry" in server.driver.alerts)
    await server.driver.stop()


async def test_a_rollback_that_the_registry_has_not_heard_of_is_not_undone_by_the_next_start(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await told_of_nothing_more(world, server)
    world.registry_comes_back()
    assert world.aliases()["stable"] == 2
    (pin,) = pin_models(world.settings)
    assert pin == ModelPin(name=NAME, version="1", digest=world.digests[0])
    async with serving(world.settings, new_plane(boot=2), pin.digest, pin.version) as server:
        await written(server)
        assert world.aliases() == {"stable": 1}, "and the registry is told"
        assert read_document(world.registry.model_tags(NAME)[TAG]).revision == server.route.revision
        assert not server.driver.kept(NAME).untold
        await server.driver.stop()
    world.registry.set_alias(NAME, "stable", 3)
    assert pin_models(world.settings)[0].version == "3", "an operator's own move is followed"


async def test_what_comes_after_a_rollback_that_was_not_told_does_not_make_it_forgotten(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        await written(server)
        world.registry_leaves()
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        await server.stub.Freeze(admin_pb2.FreezeRequest(operation=operation(), model=NAME))
        revision = server.route.revision
        await server.until(lambda: server.driver.folder.read_states()[NAME].model.revision == revision)
    world.registry_comes_back()
    assert world.aliases()["stable"] == 2
    assert pin_models(world.settings)[0].version == "1"


async def test_a_server_that_ended_between_its_two_files_keeps_to_the_rollback_for_good(world: World) -> None:
    states = world.settings.lifecycle.state / STATES
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        await written(server)
        before = states.read_bytes()
        world.registry_leaves()
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        await server.driver.states_box.drained(60)
    states.write_bytes(before)
    world.registry_comes_back()
    (pin,) = pin_models(world.settings)
    assert pin.version == "1"
    async with serving(world.settings, new_plane(boot=2), pin.digest, pin.version) as server:
        await written(server)
    assert world.aliases()["stable"] == 1, "the first start has told it"
    assert pin_models(world.settings)[0].version == "1"


def test_a_file_that_may_not_have_reached_the_disk_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StateFolder(tmp_path)
    one, two = (KeptState(ModelState(NAME, stable=Artifact(str(version), f"{version}" * 64))) for version in (1, 2))
    place = state_folder.place_file

    def fails_once_it_is_there(path: Path, data: bytes) -> None:
        place(path, data)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    folder.write_states([one])
    monkeypatch.setattr(state_folder, "place_file", fails_once_it_is_there)
    with pytest.raises(OSError, match="open files"):
        folder.write_states([two])
    monkeypatch.setattr(state_folder, "place_file", place)
    folder.write_states([one])
    assert json.loads((tmp_path / SERVED_FILE).read_bytes())[NAME]["version"] == "1"
    (tmp_path / SERVED_FILE).write_bytes(b"damaged")
    folder.write_states([one])
    assert json.loads((tmp_path / SERVED_FILE).read_bytes())[NAME]["version"] == "1"


async def test_an_alias_that_an_operator_moved_while_decisions_waited_is_followed(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await told_of_nothing_more(world, server)
    world.registry_comes_back()
    world.registry.set_alias(NAME, "stable", 3)
    (pin,) = pin_models(world.settings)
    assert pin.version == "3"
    named = world.settings.model_copy(update={"models": (ModelSettings(name=NAME, reference="2"),)})
    assert pin_models(named)[0].version == "2", "a version that is named is served"


async def test_weights_are_told_together_and_what_a_start_needs_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_teller, "WEIGHTS_REST_S", 60.0)
    documents: list[str] = []
    record = FolderRegistry.record

    def noted(registry: FolderRegistry, name: str, aliases: Mapping[str, int | None], tags: Mapping[str, str]) -> None:
        documents.append(tags[TAG])
        record(registry, name, aliases, tags)

    monkeypatch.setattr(FolderRegistry, "record", noted)
    placed: list[str] = []
    place = state_folder.place_file
    monkeypatch.setattr(state_folder, "place_file", lambda path, data: (placed.append(path.name), place(path, data)))
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        await server.until(lambda: server.route.canary_ppm == 100_000)
        await written(server)
        told, begun = len(documents), placed.count(SERVED_FILE)
        assert told > 0
        for ppm in (200_000, 900_000, 300_000):
            await weighed(server, ppm)
            await server.until(lambda ppm=ppm: kept_ppm(server) == ppm)  # type: ignore[misc]  # here it is at once
        assert len(documents) == told
        assert server.driver.kept(NAME).untold
        assert placed.count(SERVED_FILE) == begun, "what a start serves is the same"
        await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        await server.until(lambda: world.aliases() == {"stable": 2, "last_safe": 1})
        await server.until(lambda: placed.count(SERVED_FILE) > begun)
        await deploy(server, version="3")
        await written(server)
        await weighed(server, 400_000)
    # Killed with a weight that the registry has not heard of: that makes no alias of an operator's wrong.
    world.registry.set_alias(NAME, "stable", 1)
    assert pin_models(world.settings)[0].version == "1"
    world.registry.set_alias(NAME, "stable", 2)
    async with serving(world.settings, new_plane(boot=2), world.digests[1], "2") as server:
        await server.until(lambda: server.route.canary_ppm == 400_000)  # loaded again: the last that is decided here
        await written(server)
        assert read_document(world.registry.model_tags(NAME)[TAG]).revision == server.route.revision


async def test_the_registry_is_told_at_once_of_what_goes_home_and_later_of_all_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_teller, "REST_S", 60.0)
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        await server.until(lambda: server.route.canary_ppm == 100_000)
        await server.until(lambda: server.driver.states_box.pending == 0)
        assert "canary" not in world.aliases()
        assert await server.driver.registry.box.drained(30)
        assert world.aliases() == {"stable": 1, "canary": 2}
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        await server.until(lambda: world.aliases() == {"stable": 1})


def kept_ppm(server: DrivenServer) -> int:
    return server.driver.folder.read_states()[NAME].model.weight_ppm


async def weighed(server: DrivenServer, ppm: int) -> None:
    await server.stub.SetTrafficWeights(
        admin_pb2.SetTrafficWeightsRequest(operation=operation(), model=NAME, canary_ppm=ppm)
    )


@pytest.mark.parametrize("killed", [False, True])
async def test_a_start_that_decided_nothing_leaves_the_alias_to_operators(world: World, killed: bool) -> None:
    for boot in (1, 2):
        async with serving(world.settings, new_plane(boot=boot), world.digests[0]) as server:
            if boot == 1:
                await deploy(server)
                await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
            await written(server)
            if not killed:
                await server.driver.stop()
    world.registry.set_alias(NAME, "stable", 3)
    assert pin_models(world.settings)[0].version == "3"


async def test_what_was_not_told_is_told_by_the_next_control_process_although_only_starts_came_since(
    world: World,
) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await told_of_nothing_more(world, server)
    plane = new_plane(boot=2)
    async with serving(world.settings, plane, world.digests[0]) as server:
        await server.driver.states_box.drained(60)
        workers = server.workers
    world.registry_comes_back()
    async with serving(world.settings, plane, world.digests[0], workers=workers) as server:
        await written(server)
        assert world.aliases() == {"stable": 1}


async def test_the_registrys_revision_is_written_behind_the_aliases_and_quarantine_before_them(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await deploy(server)
        await written(server)
        before = read_document(world.registry.model_tags(NAME)[TAG])

        def refuse(*_: object) -> None:
            raise OSError("no alias is moved today")

        monkeypatch.setattr(FolderRegistry, "record", refuse)
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME, quarantine=True))
        await server.until(lambda: "registry" in server.driver.alerts)
        document = read_document(world.registry.model_tags(NAME)[TAG])
        assert (document.revision, document.stable) == (before.revision, before.stable)
        assert world.digests[1] in document.quarantine
        assert server.driver.kept(NAME).untold
        monkeypatch.undo()
        await written(server)
        assert read_document(world.registry.model_tags(NAME)[TAG]).revision == server.route.revision
        assert not server.driver.kept(NAME).untold


async def test_two_servers_of_one_state_folder_do_not_mix_their_journals(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as first:
        await written(first)
        async with serving(world.settings, new_plane(boot=2), world.digests[0]) as second:
            await second.until(lambda: "journal" in second.driver.alerts)
            assert "another server" in second.driver.alerts["journal"]
            assert world.kinds() == ["started"]


async def test_a_model_that_the_registry_refuses_keeps_no_other_model_from_being_told(world: World) -> None:
    async with serving(world.settings, world.plane, world.digests[0]) as server:
        driver = server.driver
        refused = replace(driver.kept(NAME), model=replace(driver.state(NAME), name="not-in-the-registry"))
        driver.registry.box.put("not-in-the-registry", refused)
        await server.until(lambda: "registry" in driver.alerts)
        await deploy(server)
        await server.until(lambda: world.aliases() == {"stable": 1, "canary": 2})
        assert "registry" in driver.alerts
        await server.until(lambda: driver.registry.box.pending == 1)


async def test_the_anchored_head_is_the_journals_after_decisions_and_notes_and_a_kill(world: World) -> None:
    journal = JournalFile(world.folder / "state")

    def head() -> Head:
        return verify(journal.path.read_bytes())

    def anchored() -> Head:
        mark = read_mark(world.registry.model_tags(NAME)[JOURNAL_TAG])
        assert mark is not None
        assert journal.lines()[0].digest.startswith(mark.first)
        return mark.head

    async with serving(world.settings, world.plane, world.digests[0]) as server:
        await written(server)
        assert anchored() == head(), "of a start"
        await deploy(server)
        await server.stub.SetTrafficWeights(
            admin_pb2.SetTrafficWeightsRequest(operation=operation(), model=NAME, canary_ppm=500_000)
        )
        await written(server)
        assert anchored() == head(), "of decisions"
        now_ns, at_utc = server.driver.now()
        incident = Incident(now_ns=now_ns, at_utc=at_utc, digest=world.digests[0], detail="a worker ended")
        await server.driver.apply(NAME, incident)
        await written(server)
        assert world.kinds()[-1] == "incident"
        assert anchored() == head(), "of a note"
        workers = server.workers
    mark = JournalMark(Head(1, journal.lines()[0].digest), journal.lines()[0].digest[:12])
    world.registry.set_model_tag(NAME, JOURNAL_TAG, str(mark))  # it was killed before the anchor was written
    async with serving(world.settings, world.plane, world.digests[0], workers=workers) as server:
        await written(server)
        assert anchored() == head(), "of what the one before had written"
