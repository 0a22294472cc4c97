"""The driver with an MLflow registry: what is decided stands in its aliases and tags, also when it was away."""

from pathlib import Path

import pytest

from protos.roost.v1 import admin_pb2
from registry_client.opening import open_registry
from server.cli.pinning import pin_models
from server.control.registry_projection import JOURNAL_TAG
from server.lifecycle.documents import TAG, read_document
from tests.control.driven_server import NAME, new_plane, operation, push, serving, settings_of
from tests.control.driven_world import written

pytest.importorskip("mlflow")
pytestmark = pytest.mark.timeout(120)  # MLflow makes its tables first


async def test_a_rollback_that_mlflow_has_not_heard_of_is_not_undone_by_the_next_start(tmp_path: Path) -> None:
    database, away = tmp_path / "mlflow.db", tmp_path / "away.db"
    uri = f"sqlite:///{database}"
    registry = open_registry(uri)
    digests = [push(tmp_path / "unused", number, registry=registry) for number in (1, 2)]
    registry.set_alias(NAME, "stable", 1)
    settings = settings_of(tmp_path, mlflow=uri)
    async with serving(settings, new_plane(), pin_models(settings)[0].digest) as server:
        await server.stub.DeployCanary(
            admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version="2", weight_ppm=50_000)
        )
        await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        await written(server)  # the journal first, of whose head MLflow is told then
        database.rename(away)
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME))
        assert server.digest("stable") == digests[0]
        await server.until(lambda: server.driver.registry.box.failure is not None)
        await server.driver.stop()
    database.unlink(missing_ok=True)
    away.rename(database)
    assert registry.resolve(NAME, "stable").version == 2
    (pin,) = pin_models(settings)
    assert (pin.version, pin.digest) == ("1", digests[0])
    async with serving(settings, new_plane(boot=2), pin.digest, pin.version) as server:
        assert await server.driver.registry.box.drained(30)
        assert registry.resolve(NAME, "stable").version == 1, "and MLflow is told"
        await server.driver.stop()
    registry.set_alias(NAME, "stable", 2)
    assert pin_models(settings)[0].version == "2", "an operator's own move is followed"


async def test_decisions_are_told_to_mlflow_and_made_up_for_after_it_was_away(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    uri = f"sqlite:///{database}"
    registry = open_registry(uri)
    digests = [push(tmp_path / "unused", 1, aliases=("stable",), registry=registry)]
    digests.append(push(tmp_path / "unused", 2, registry=registry))

    def aliases() -> dict[str, int]:
        return {alias: one.version for one in registry.versions(NAME) for alias in one.aliases}

    async with serving(settings_of(tmp_path, mlflow=uri), new_plane(), digests[0]) as server:
        await server.stub.DeployCanary(
            admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version="2", weight_ppm=50_000)
        )
        assert await server.driver.registry.box.drained(30)
        assert aliases() == {"stable": 1, "canary": 2}
        document = read_document(registry.model_tags(NAME)[TAG])
        assert (document.digest, document.weight_ppm) == (digests[1], 50_000)
        database.rename(tmp_path / "away.db")
        await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        assert server.digest("stable") == digests[1], "no registry is waited for"
        await server.until(lambda: server.driver.registry.box.failure is not None)
        database.unlink(missing_ok=True)
        (tmp_path / "away.db").rename(database)
        assert await server.driver.keeper.box.drained(30)  # what it has written is told the registry
        assert await server.driver.registry.box.drained(30)
        assert aliases() == {"stable": 2, "last_safe": 1}
        assert registry.model_tags(NAME)[JOURNAL_TAG].partition(":")[0] in ("3", "4")
