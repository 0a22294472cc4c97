"""The registry's server is killed in the middle of a plan and comes back: nothing waits for it, and nothing is lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from benchmarks.rollouts.canaries import not_a_number
from benchmarks.rollouts.world import World
from benchmarks.swaps.operator import Operator, plane_of, roost
from benchmarks.swaps.versions import Versions, scaled
from tests.behaviour.worker_process import warm_kernels
from tests.rollouts.conftest import RATE, SETTINGS
from tests.rollouts.tracking_server import TrackingServer

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]

PLAN = ({"weight": 0.2, "minimum_requests": 200, "bake_s": 1.0}, {"weight": 0.5, "minimum_requests": 200})
factors = itertools.count(2)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    with TrackingServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="module")
def mlflow_world(registry: TrackingServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    warm_kernels()
    versions = Versions(tmp_path_factory.mktemp("away"), registry.uri)
    versions.push(scaled(1), 1, ("stable",))
    with roost(versions, workers=2, settings=SETTINGS) as server, Operator(server.ready["admin"]) as operator:
        yield World(versions, server, operator, plane_of(server.process.pid))


@pytest.mark.parametrize("bad", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["promoted", "home"])
def test_a_plan_goes_on_while_the_registry_is_away(mlflow_world: World, registry: TrackingServer, bad: bool) -> None:
    world, factor = mlflow_world, next(factors)
    canary = world.push(not_a_number(factor) if bad else scaled(factor), factor)
    stable = world.digest("stable")
    with world.caller() as caller:
        world.operator.deploy(canary, plan=PLAN)
        registry.stop()
        caller.pace(rate=RATE / 4)  # only now can the plan go on
        answered = caller.mark().answered
        world.until(lambda: world.route.canary is None, "the plan ends", 90)
        assert caller.mark().answered > answered, "serving goes on meanwhile"
        assert world.digest("stable") == (stable if bad else world.versions.digests[canary])
        world.until(lambda: _told(world), "somebody is told")
        registry.start()
        world.check_that_all_agree()
        world.until(lambda: not _told(world), "all is well again")
        caller.settle()
    assert caller.failed == caller.lost == 0, caller.failed_by_status()
    assert set(caller.wrong) <= ({canary} if bad else set()), caller.wrong
    kinds = [entry["kind"] for entry in world.journal() if entry.get("model")]
    assert kinds.count("went_home" if bad else "promoted") == 1, kinds


def _told(world: World) -> bool:
    return any(alert.startswith("registry") for alert in world.operator.state().alerts)
