"""kill -9 of control, of a worker, of both, in the middle of a plan: serving goes on, and everything agrees after."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time

import pytest

from benchmarks.rollouts.world import World
from benchmarks.swaps.versions import scaled
from native.plane.layout import PLANE_CONTROL_READY, WorkerState
from tests.rollouts.conftest import RATE

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]

PLAN = tuple({"weight": weight / 10, "minimum_requests": 50, "bake_s": 0.1} for weight in range(1, 10, 2))
KILLS_EACH = int(os.environ.get("ROOST_KILLS_EACH", "1"))
MOMENT_S = 1.5  # the plan takes about as long
factors = itertools.count(2)
moments = random.Random(6)


def control_pid(world: World) -> int:
    """Of the control process that answers; 0 while there is none."""
    return int(world.plane.words[PLANE_CONTROL_READY])


def kill_control(world: World) -> None:
    pid = control_pid(world)
    os.kill(pid, signal.SIGKILL)
    world.until(lambda: control_pid(world) not in (0, pid), "control is started again")


def kill_worker(world: World) -> None:
    index = moments.randrange(world.plane.workers)
    pid = world.pid_of(index)
    os.kill(pid, signal.SIGKILL)
    block = world.plane.block(index)
    world.until(lambda: world.pid_of(index) != pid and block.state is WorkerState.READY, "the worker is replaced")


def kill_both(world: World) -> None:
    control, index = control_pid(world), moments.randrange(world.plane.workers)
    worker, block = world.pid_of(index), world.plane.block(index)
    os.kill(control, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    world.until(lambda: control_pid(world) not in (0, control), "control is started again")
    world.until(lambda: world.pid_of(index) != worker and block.state is WorkerState.READY, "the worker is replaced")


@pytest.mark.parametrize("time_of_kill", range(KILLS_EACH))
@pytest.mark.parametrize("kill", [kill_control, kill_worker, kill_both], ids=["control", "worker", "both"])
def test_a_plan_survives_kill_9(world: World, kill: object, time_of_kill: int) -> None:
    assert callable(kill)
    factor = next(factors)
    canary = world.push(scaled(factor), factor)
    with world.caller() as caller:
        caller.pace(rate=RATE)
        world.operator.deploy(canary, plan=PLAN)
        time.sleep(moments.uniform(0, MOMENT_S))
        answered = caller.mark().answered
        kill(world)
        assert caller.mark().answered > answered, "serving goes on meanwhile"
        world.until(lambda: world.route.canary is None, "the plan ends", 90)
        world.until(lambda: world.digest("stable") == world.versions.digests[canary], "the canary is promoted")
        world.check_that_all_agree()
        caller.settle()
    assert (caller.failed, caller.wrong) == (0, {}), caller.failed_by_status()
    assert caller.lost == 0 or kill is not kill_control
    kinds = [entry["kind"] for entry in world.journal() if entry.get("model")]
    assert kinds.count("promoted") == len({*world.promoted, canary}), "one entry a decision"
    world.promoted.add(canary)
