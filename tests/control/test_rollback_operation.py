"""Rollback as operators ask for it: what would leave nothing to serve is refused, with and without quarantine."""

from pathlib import Path

import pytest
from grpc import aio

from protos.roost.v1 import admin_pb2
from tests.control.driven_server import NAME, new_plane, operation, push, serving, settings_of


@pytest.mark.parametrize("quarantine", [False, True])
async def test_a_rollback_with_nowhere_to_go_is_refused_and_says_how_to_take_the_stable_out(
    tmp_path: Path, quarantine: bool
) -> None:
    digests = [push(tmp_path / "registry", 1, aliases=("stable",)), push(tmp_path / "registry", 2)]
    async with serving(settings_of(tmp_path), new_plane(), digests[0]) as server:
        rollback = admin_pb2.RollbackRequest(operation=operation(), model=NAME, quarantine=quarantine)
        with pytest.raises(aio.AioRpcError, match="a last safe version to go back to, got neither") as error:
            await server.stub.Rollback(rollback)
        assert error.value.code().name == "FAILED_PRECONDITION"
        assert ("roost quarantine" in str(error.value.details())) is quarantine
        assert server.digest("stable") == digests[0]
        assert server.driver.state(NAME).quarantine == {}
        await server.stub.Quarantine(admin_pb2.QuarantineRequest(operation=operation(), model=NAME, digest=digests[0]))
        assert server.route.stable is None


async def test_a_rollback_into_quarantine_shuts_out_what_it_took_back(tmp_path: Path) -> None:
    digests = [push(tmp_path / "registry", 1, aliases=("stable",)), push(tmp_path / "registry", 2)]
    async with serving(settings_of(tmp_path), new_plane(), digests[0]) as server:
        await server.stub.DeployCanary(
            admin_pb2.DeployCanaryRequest(operation=operation(), model=NAME, version="2", weight_ppm=50_000)
        )
        await server.stub.Promote(admin_pb2.PromoteRequest(operation=operation(), model=NAME))
        await server.stub.Rollback(admin_pb2.RollbackRequest(operation=operation(), model=NAME, quarantine=True))
        assert server.digest("stable") == digests[0]
        assert list(server.driver.state(NAME).quarantine) == [digests[1]]
