"""A whole server under a load of which every reply is checked: bad canaries go home, good ones are promoted."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from benchmarks.rollouts.canaries import STEPS_ENDLESS, SWELLING_MIB, failing, looping, not_a_number, swelling
from benchmarks.rollouts.world import KEYS, World
from benchmarks.swaps.caller import Caller
from benchmarks.swaps.versions import scaled
from native.plane.layout import WorkerState
from tests.rollouts.conftest import PLAN, RATE

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]

HARMLESS_KEYS = 512  # their inputs are below every canary's threshold
IN_FLIGHT_S = 1.0  # a run that hangs in another worker is still ended by its watchdog
factors = itertools.count(2)


def stable_was_right(caller: Caller, canary: int) -> None:
    """Whatever the canary did: no reply that claims another version was wrong, and no reply was none."""
    assert set(caller.wrong) <= {canary}, caller.wrong


def after_it_all_is_well(world: World, caller: Caller) -> None:
    time.sleep(IN_FLIGHT_S)
    before = (caller.failed, caller.lost, caller.wrong)
    answered = caller.mark().answered
    world.until(lambda: caller.mark().answered > answered + 500, "answers go on")
    assert (caller.failed, caller.lost, caller.wrong) == before, caller.failed_by_status()


def went_home(world: World, canary: int) -> None:
    world.until(lambda: world.route.canary is None, "the canary goes home")
    digest = world.versions.digests[canary]
    assert world.digest("stable") != digest
    state = world.operator.state()
    assert digest in {one.digest for one in state.quarantined}, state
    world.check_that_all_agree()
    assert world.journal()[-1]["kind"] == "went_home"


def test_a_good_canary_is_promoted_by_its_plan_and_no_request_fails(world: World) -> None:
    factor = next(factors)
    canary = world.push(scaled(factor), factor)
    with world.caller() as caller:
        caller.pace(rate=RATE)
        world.operator.deploy(canary, plan=PLAN)
        world.until(lambda: world.digest("stable") == world.versions.digests[canary], "the canary is promoted")
        after_it_all_is_well(world, caller)
        caller.settle()
    assert (caller.failed, caller.lost, caller.wrong) == (0, 0, {}), caller.failed_by_status()
    assert caller.right[canary] > 300
    world.check_that_all_agree()
    assert world.journal()[-1]["kind"] == "promoted"


@pytest.mark.slow
def test_an_identical_copy_is_promoted_by_its_plan(world: World) -> None:
    stable = world.versions.digests.index(world.digest("stable"))
    factor = world.versions.factors[stable]
    canary = world.push(scaled(factor, name="copy"), factor)
    with world.caller(keys=0) as caller:
        caller.pace(rate=RATE)
        world.operator.deploy(canary, plan=PLAN)
        world.until(lambda: world.digest("stable") == world.versions.digests[canary], "the copy is promoted")
        caller.settle()
    assert (caller.failed, caller.lost, caller.wrong) == (0, 0, {}), caller.failed_by_status()


@pytest.mark.parametrize("keys", [pytest.param(KEYS, marks=pytest.mark.slow), 0], ids=["keyed", "keyless"])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(not_a_number, id="not a number"),
        pytest.param(failing, id="errors"),
        pytest.param(lambda factor: looping(factor, STEPS_ENDLESS), id="a hang"),
    ],
)
def test_a_canary_that_is_bad_for_some_inputs_goes_home_by_itself(
    world: World, make: Callable[[int], bytes], keys: int
) -> None:
    factor = next(factors)
    canary = world.push(make(factor), factor)
    with world.caller(keys=keys) as caller:
        caller.pace(rate=RATE)
        world.operator.deploy(canary, weight=0.2)
        went_home(world, canary)
        after_it_all_is_well(world, caller)
        stable_was_right(caller, canary)
        assert caller.lost == 0


@pytest.mark.slow
def test_a_canary_that_goes_bad_after_a_while_goes_home_by_itself(world: World) -> None:
    factor = next(factors)
    canary = world.push(not_a_number(factor), factor)
    with world.caller(keys=HARMLESS_KEYS) as good_times, world.caller(seed=2) as bad_times:
        good_times.pace(rate=RATE)
        world.operator.deploy(canary, weight=0.2)
        world.until(lambda: good_times.right.get(canary, 0) > 300, "the canary answers")
        assert world.route.canary is not None
        bad_times.pace(rate=RATE)
        went_home(world, canary)
        after_it_all_is_well(world, bad_times)
        assert good_times.wrong == {}
        stable_was_right(bad_times, canary)


def test_a_canary_that_is_far_too_slow_goes_home_by_itself(world: World) -> None:
    factor = next(factors)
    canary = world.push(looping(factor, 600_000), factor)
    with world.caller() as caller:
        caller.pace(rate=RATE / 4)
        world.operator.deploy(canary, weight=0.1)
        went_home(world, canary)
        after_it_all_is_well(world, caller)
        stable_was_right(caller, canary)


@pytest.mark.slow
def test_a_canary_that_eats_memory_goes_home_by_itself(world: World) -> None:
    factor = next(factors)
    canary = world.push(swelling(factor, SWELLING_MIB), factor)
    with world.caller() as caller:
        caller.pace(rate=RATE / 4)
        world.operator.deploy(canary, weight=0.1)
        went_home(world, canary)
        world.until(
            lambda: all(world.plane.block(index).state is WorkerState.READY for index in range(world.plane.workers)),
            "a worker whose run did not end is replaced",
        )
        after_it_all_is_well(world, caller)
        stable_was_right(caller, canary)


def test_a_worker_that_crashes_in_a_canarys_run_is_replaced_without_it(world: World) -> None:
    factor = next(factors)
    canary = world.push(looping(factor, 3000), factor)
    with world.caller() as caller:
        caller.pace(rate=RATE / 4)
        world.operator.deploy(canary, weight=0.2)
        index = world.crash_in_its_run()
        went_home(world, canary)
        world.until(lambda: world.plane.block(index).state is WorkerState.READY, "the worker is replaced")
        after_it_all_is_well(world, caller)
        stable_was_right(caller, canary)
