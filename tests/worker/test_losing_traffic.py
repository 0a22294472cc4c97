"""Calls that wait for a version, or run, while its traffic is taken away: it answers none of them any more.

Version 1, which batches, is in seat 0: so the fast lane's kernels read calls of this model, whatever else is stable.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from benchmarks.rollouts.canaries import STEPS_ENDLESS, looping
from benchmarks.swaps.versions import Versions
from native.http2.refusals import NO_TRAFFIC, REFUSALS
from native.plane.routes import SeatRef
from native.plane.routing import HUNG_COUNT, PPM, RUNNING_MAIN, RUNNING_TRIAL
from server.settings import BatchingSettings, TrialSettings
from tests.behaviour.worker_process import LISTENERS
from tests.worker.bad_versions import THRESHOLD, alone, endless_alone
from tests.worker.operated import FIRST, OperatedWorker, asked, factor_in, predict, rows

WATCHDOG_MS = 3000  # the traffic is taken away well before
BAD = rows(first=THRESHOLD)
WAITING = 5
SLOW_STEPS = 200_000  # a second or more
PLACES = {"main": RUNNING_MAIN, "trial": RUNNING_TRIAL}


class Operated:
    """A worker and calls to it."""

    def __init__(self, worker: OperatedWorker, channel: grpc.Channel) -> None:
        self.worker = worker
        self.channel = channel
        self.routing = worker.plane.block(0).routing

    def load(self, model_bytes: bytes, factor: int) -> SeatRef:
        return self.worker.load(self.worker.versions.push(model_bytes, factor))

    def begin(self, values: np.ndarray, timeout: float = 30) -> grpc.Future:
        return predict(self.channel).future(asked(values), timeout=timeout)

    def answered_by_stable(self) -> float:
        """The factor in an answer that comes at once."""
        return factor_in(predict(self.channel)(asked(), timeout=5))

    def hangs(self, ref: SeatRef, place: str, timeout: float = 30) -> grpc.Future:
        """A call whose run has begun, and does not end by itself."""
        call = self.begin(BAD, timeout)
        self.worker.until(lambda: int(self.routing[PLACES[place]]) == ref.seat + 1, "it runs")
        return call

    def wait(self) -> list[grpc.Future]:
        """Calls that wait behind it, the last of which is not a bad one."""
        waiting = [self.begin(values) for values in [BAD] * (WAITING - 1) + [rows()]]
        time.sleep(0.1)  # they are read by now
        assert not any(call.done() for call in waiting)
        return waiting

    @property
    def hung_count(self) -> int:
        return int(self.routing[HUNG_COUNT])


@pytest.fixture(scope="module", params=LISTENERS)
def operated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    folder = tmp_path_factory.mktemp("losing")
    versions = Versions(folder)
    versions.push_scaled(1)
    sections = {
        "trial": TrialSettings(watchdog_ms=WATCHDOG_MS, watchdog_grace_ms=30_000),
        "batching": BatchingSettings(max_batch_size=2),  # so that some batches are sealed, and one gathers
    }
    with OperatedWorker(request.param, versions, folder, **sections) as worker, worker.channel() as channel:
        yield Operated(worker, channel)


def test_a_canary_that_runs_alone_answers_no_more_once_it_has_gone_home(operated: Operated) -> None:
    stable, canary = operated.load(alone(3), 3), operated.load(endless_alone(2), 2)
    epoch = operated.worker.route(stable, canary=canary, canary_ppm=PPM)
    hung_before = operated.hung_count
    running, waiting = operated.hangs(canary, "trial"), operated.wait()
    operated.worker.route(stable)
    assert factor_in(running.result()) == 3 * THRESHOLD
    assert canary.seat not in operated.worker.cells(epoch), "what was ended is held against nobody"
    assert [factor_in(call.result()) for call in waiting] == [3 * THRESHOLD] * (WAITING - 1) + [3.0]
    assert operated.hung_count == hung_before, "what runs is ended well before it took too long"
    operated.worker.route(FIRST)
    for ref in (stable, canary):
        operated.worker.vacate(ref)


def test_a_stable_that_runs_alone_answers_no_more_once_it_is_replaced(operated: Operated) -> None:
    stable = operated.load(endless_alone(2), 2)
    operated.worker.route(stable, last_safe=FIRST)
    running = operated.hangs(stable, "main", timeout=2.0)
    waiting = operated.wait()
    operated.worker.route(FIRST)
    assert running.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [factor_in(call.result()) for call in waiting] == [THRESHOLD] * (WAITING - 1) + [1.0]
    operated.worker.vacate(stable)


def test_a_batch_that_hangs_a_canary_never_runs_where_the_stable_runs(operated: Operated) -> None:
    """The stable's rows share no batch, so that it can't take over what waits for a canary whose rows do."""
    stable, canary = operated.load(alone(3), 3), operated.load(looping(2, STEPS_ENDLESS), 2)
    operated.worker.route(stable, canary=canary, canary_ppm=PPM)
    hung_before = operated.hung_count
    running, waiting = operated.hangs(canary, "trial"), operated.wait()
    operated.worker.route(stable)
    assert operated.answered_by_stable() == 3.0, "while the canary hangs"
    for call, right in zip(waiting, [3 * THRESHOLD] * (WAITING - 1) + [3.0], strict=True):
        if operated.worker.listener == "grpcio":
            assert factor_in(call.result()) == right, "asked again, of the stable"
        else:
            assert (call.code(), call.details()) == (grpc.StatusCode.UNAVAILABLE, REFUSALS[NO_TRAFFIC].message)
    assert running.code() is grpc.StatusCode.UNAVAILABLE, "by the watchdog: nobody else could run it"
    assert operated.hung_count == hung_before + 1
    assert operated.answered_by_stable() == 3.0
    operated.worker.route(FIRST)
    for ref in (stable, canary):
        operated.worker.vacate(ref)


def test_the_stable_answers_what_a_canary_ran_as_it_went_home(operated: Operated) -> None:
    canary = operated.load(looping(2, STEPS_ENDLESS), 2)
    epoch = operated.worker.route(FIRST, canary=canary, canary_ppm=PPM)
    hung_before = operated.hung_count
    running, waiting = operated.hangs(canary, "trial"), operated.wait()
    operated.worker.route(FIRST)
    replies = [call.result() for call in [running, *waiting]]
    assert [factor_in(reply) for reply in replies] == [THRESHOLD] * WAITING + [1.0]
    assert {reply.variant for reply in replies} == {"stable"}
    assert operated.hung_count == hung_before
    assert canary.seat not in operated.worker.cells(epoch), "what was ended is held against nobody"
    assert operated.answered_by_stable() == 1.0
    operated.worker.vacate(canary)


def test_a_caller_that_leaves_a_canary_which_goes_home_holds_nothing(operated: Operated) -> None:
    canary = operated.load(looping(2, STEPS_ENDLESS), 2)
    operated.worker.route(FIRST, canary=canary, canary_ppm=PPM)
    assert operated.hangs(canary, "trial").cancel()
    operated.worker.route(FIRST)
    operated.worker.vacate(canary)


@pytest.mark.parametrize("place", ["last_safe", "shadow"])
def test_a_canary_that_keeps_another_place_goes_home_like_any(operated: Operated, place: str) -> None:
    canary = operated.load(looping(2, STEPS_ENDLESS), 2)
    kept = {place: canary}
    operated.worker.route(FIRST, canary=canary, canary_ppm=PPM, **kept)
    hung_before = operated.hung_count
    running = operated.hangs(canary, "trial")
    operated.worker.route(FIRST, **kept)
    assert factor_in(running.result()) == THRESHOLD
    assert operated.hung_count == hung_before
    operated.worker.route(FIRST)
    operated.worker.vacate(canary)


@pytest.mark.parametrize("hangs", [True, False])
def test_a_canary_that_went_home_may_come_back(operated: Operated, hangs: bool) -> None:
    """What was ended as it went home was that run, and none that comes later."""
    canary = operated.load(looping(2, STEPS_ENDLESS), 2)
    operated.worker.route(FIRST, canary=canary, canary_ppm=PPM)
    assert factor_in(operated.begin(rows()).result()) == 2.0
    running = operated.hangs(canary, "trial") if hangs else None
    operated.worker.route(FIRST)
    assert running is None or factor_in(running.result()) == THRESHOLD
    operated.worker.route(FIRST, canary=canary, canary_ppm=PPM)
    assert factor_in(operated.begin(rows()).result()) == 2.0
    operated.worker.route(FIRST)
    operated.worker.vacate(canary)


def test_what_nobody_else_can_run_is_answered_in_the_name_that_it_ran_in(operated: Operated) -> None:
    """Whoever groups answers by their variant would else blame the stable for what a bad canary said last."""
    stable, canary = operated.load(alone(3), 3), operated.load(looping(2, SLOW_STEPS), 2)
    operated.worker.route(stable, canary=canary, canary_ppm=PPM)
    running = operated.hangs(canary, "trial")
    operated.worker.route(stable)
    assert (running.result().variant, factor_in(running.result())) == ("canary", 2 * THRESHOLD)
    operated.worker.route(FIRST)
    for ref in (stable, canary):
        operated.worker.vacate(ref)


def test_whoever_replaces_a_stable_answers_what_it_ran(operated: Operated) -> None:
    """Not where the one before is kept, as the last safe one: that answers what it runs."""
    stable = operated.load(looping(2, SLOW_STEPS), 2)
    operated.worker.route(stable)
    assert factor_in(operated.begin(BAD).result()) == 2 * THRESHOLD  # from now on it runs off the loop
    running = operated.hangs(stable, "main")
    operated.worker.route(FIRST)
    assert factor_in(running.result()) == THRESHOLD
    operated.worker.vacate(stable)
