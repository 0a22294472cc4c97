"""Canaries and shadows that hang, fail or answer no numbers: nothing of it is seen by a stable's caller."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import grpc
import numpy as np
import pytest

from benchmarks.rollouts.canaries import STEPS_ENDLESS, failing, looping, not_a_number
from benchmarks.swaps.versions import Versions, scaled
from native.plane.evidence import Cell, clear_first_events
from native.plane.layout import WorkerState
from native.plane.routes import SeatRef
from native.plane.routing import HUNG_COUNT, HUNG_GENERATION, HUNG_SEAT, PPM, RUNNING_TRIAL, RUNNING_TRIAL_GENERATION
from protos.roost.v1 import predict_pb2
from server.processes import EXIT_HUNG
from server.settings import TrialSettings
from server.worker.watchdog import SLOWED_NICENESS
from tests.behaviour.worker_process import LISTENERS
from tests.oracles.split import position
from tests.worker.bad_versions import THRESHOLD, alone, deaf, endless_alone, not_a_number_alone
from tests.worker.operated import FIRST, OperatedWorker, asked, factor_in, predict, rows

WATCHDOG_MS = 600
SALT = 5
HALF = PPM // 2
KEYS = [f"key-{number}" for number in range(100)]
CANARYS, STABLES = (
    [key for key in KEYS if (position(key.encode(), SALT) < HALF) == is_canarys] for is_canarys in (True, False)
)
BAD = rows(first=THRESHOLD)
NICER = os.getpriority(os.PRIO_PROCESS, 0) + SLOWED_NICENESS
NOTHING = Cell(*[0] * len(fields(Cell)))

Make = Callable[[int], bytes]


def endless(factor: int) -> bytes:
    return looping(factor, STEPS_ENDLESS)


@dataclass(frozen=True)
class Thread:
    """nice: as one of shadows, or one whose run takes too long."""

    runs: bool = False
    nice: bool = False


class Trials:
    """A worker whose stable is version 1, and versions to try."""

    def __init__(self, worker: OperatedWorker, channel: grpc.Channel) -> None:
        self.worker = worker
        self.channel = channel
        self.routing = worker.plane.block(0).routing

    def load(self, make: Make) -> SeatRef:
        return self.worker.load(self.worker.versions.push(make(2), 2))

    def canary(self, ref: SeatRef) -> int:
        """A rollout begins, with half of the traffic; the weights' epoch."""
        clear_first_events(self.worker.plane, 0)
        return self.worker.route(FIRST, canary=ref, canary_ppm=HALF, salt=SALT)

    def ask(self, values: np.ndarray | None = None, **fields: str) -> predict_pb2.PredictReply:
        return predict(self.channel)(asked(values, **fields), timeout=30)

    def begin(self, values: np.ndarray, **fields: str) -> grpc.Future:
        # Longer than a busy machine keeps the longest of these runs, which all others go before.
        return predict(self.channel).future(asked(values, **fields), timeout=100)

    def cell(self, epoch: int, ref: SeatRef, condition: Callable[[Cell], bool]) -> Cell:
        """What was counted of a seat under these weights, once it is so."""
        self.worker.until(lambda: condition(self.worker.cells(epoch).get(ref.seat, NOTHING)), "counted", 10)
        return self.worker.cells(epoch)[ref.seat]

    @property
    def hung(self) -> tuple[int, int, int]:
        """(how many, the last one's seat, its generation)."""
        count, seat, generation = (int(self.routing[word]) for word in (HUNG_COUNT, HUNG_SEAT, HUNG_GENERATION))
        return count, seat, generation

    def threads(self) -> dict[str, Thread]:
        """The worker's, by number."""
        assert self.worker.process is not None
        found = {}
        for thread in Path(f"/proc/{self.worker.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # it has just ended
                fields = (thread / "stat").read_text().rpartition(")")[2].split()
                found[thread.name] = Thread(runs=fields[0] == "R", nice=int(fields[16]) == NICER)
        return found

    def runs_behind_everybody(self) -> bool:
        return any(now.runs and now.nice for now in self.threads().values())

    def slowed(self, before: dict[str, Thread]) -> set[str]:
        """Threads that have been made nicer since then."""
        return {
            name for name, now in self.threads().items() if now.nice and not before.get(name, Thread(nice=True)).nice
        }

    def runs(self, ref: SeatRef) -> None:
        """Waits until the plane says that this artifact is in a trial's run."""
        self.worker.until(lambda: int(self.routing[RUNNING_TRIAL]) == ref.seat + 1, "it runs")
        assert int(self.routing[RUNNING_TRIAL_GENERATION]) == ref.generation

    def done_with(self, *refs: SeatRef) -> None:
        self.worker.route(FIRST)
        for ref in refs:
            self.worker.vacate(ref)


@pytest.fixture(scope="module", params=LISTENERS)
def trials(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    folder = tmp_path_factory.mktemp("trials")
    versions = Versions(folder)
    versions.push_scaled(1)
    settings = TrialSettings(watchdog_ms=WATCHDOG_MS, watchdog_grace_ms=30_000)
    with OperatedWorker(request.param, versions, folder, trial=settings) as worker, worker.channel() as channel:
        yield Trials(worker, channel)


@pytest.mark.parametrize("make", [endless, endless_alone])
def test_a_canary_that_hangs_is_ended_and_counted_while_its_stable_answers(trials: Trials, make: Make) -> None:
    ref = trials.load(make)
    epoch = trials.canary(ref)
    assert factor_in(trials.ask(routing_key=CANARYS[0])) == 2.0
    hung_before = trials.hung[0]
    before, slowed = trials.threads(), set()
    waits = trials.begin(BAD, routing_key=CANARYS[1])
    trials.runs(ref)
    answered = 0
    while not waits.done():
        assert factor_in(trials.ask(routing_key=STABLES[answered % len(STABLES)])) == 1.0
        answered += 1
        slowed |= trials.slowed(before)
    assert answered > 20
    assert len(slowed) == 1, "the stable goes before it"
    trials.worker.until(lambda: not slowed & trials.threads().keys(), "no other run has its thread")
    assert waits.code() is grpc.StatusCode.UNAVAILABLE
    assert waits.details().startswith(f"model: its run was ended after {WATCHDOG_MS} ms")
    assert trials.hung == (hung_before + 1, ref.seat, ref.generation)
    cell = trials.cell(epoch, ref, lambda cell: cell.timeouts == 1)
    assert (cell.requests, cell.errors, cell.failed) == (2, 0, 1)
    assert int(trials.routing[RUNNING_TRIAL]) == 0
    assert factor_in(trials.ask(routing_key=CANARYS[2])) == 2.0, "it goes on after that"
    trials.done_with(ref)


def slow(factor: int) -> bytes:
    return looping(factor, 2_500)  # tens of milliseconds: never late, however long it waits for a core


def slow_alone(factor: int) -> bytes:
    return endless_alone(factor, steps=15_000)


# The stable's rows are batched: what it takes is not known of calls that run alone, nor what is slow then.
@pytest.mark.parametrize(("make", "can_be_known"), [(slow, True), (slow_alone, False)])
def test_a_canary_that_is_known_to_be_slow_runs_behind_everybody_from_the_beginning(
    trials: Trials, make: Make, can_be_known: bool
) -> None:
    trials.ask()  # nobody is slow beside a stable of which nothing is known
    ref = trials.load(make)
    trials.canary(ref)
    for is_known in (False, can_be_known):
        trials.worker.until(lambda: not trials.runs_behind_everybody(), "what was loaded before is quiet")
        before, slowed, ran_nice = trials.threads(), set(), False
        waits = trials.begin(BAD, routing_key=CANARYS[0])
        while not waits.done():
            slowed |= trials.slowed(before)
            ran_nice |= trials.runs_behind_everybody()
        assert waits.code() is grpc.StatusCode.OK
        assert ran_nice
        assert len(slowed) == (0 if is_known else 1)
    trials.done_with(ref)


@pytest.mark.parametrize("make", [not_a_number, not_a_number_alone])
def test_answers_that_are_no_numbers_are_given_and_counted(trials: Trials, make: Make) -> None:
    ref = trials.load(make)
    epoch = trials.canary(ref)
    assert np.isnan(factor_in(trials.ask(BAD, routing_key=CANARYS[0])))
    trials.ask(routing_key=CANARYS[1])
    cell = trials.cell(epoch, ref, lambda cell: cell.requests == 2)
    assert (cell.non_finite, cell.errors, cell.timeouts) == (1, 0, 0)
    trials.done_with(ref)


def test_a_run_of_a_canary_that_fails_is_its_error_and_nobody_elses(trials: Trials) -> None:
    ref = trials.load(failing)
    epoch = trials.canary(ref)
    calls = [trials.begin(BAD, routing_key=CANARYS[0])]
    calls += [trials.begin(rows(), routing_key=key) for key in (*CANARYS[1:4], *STABLES[:4])]
    codes = [call.code() for call in calls]
    assert codes == [grpc.StatusCode.INVALID_ARGUMENT] + [grpc.StatusCode.OK] * 7
    cell = trials.cell(epoch, ref, lambda cell: cell.requests == 4)
    assert (cell.errors, cell.failed) == (1, 1)
    trials.done_with(ref)


def test_a_caller_whose_time_is_up_in_a_canarys_run_is_a_timeout_of_the_canarys(trials: Trials) -> None:
    ref = trials.load(endless_alone)
    epoch = trials.canary(ref)
    with pytest.raises(grpc.RpcError) as refused:
        predict(trials.channel)(asked(BAD, routing_key=CANARYS[0]), timeout=0.3)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    cell = trials.cell(epoch, ref, lambda cell: cell.answered == 1)
    assert cell.timeouts == 1
    trials.worker.until(lambda: int(trials.routing[RUNNING_TRIAL]) == 0, "ended with its caller's time")
    trials.done_with(ref)


# --- Shadows -----------------------------------------------------------------------------------------------------
def test_a_shadow_runs_what_the_stable_answers_and_is_counted_apart(trials: Trials) -> None:
    ref = trials.load(not_a_number)
    epoch = trials.worker.route(FIRST, shadow=ref)
    for number in range(6):
        reply = trials.ask(BAD if number % 2 else rows())
        assert (reply.version, reply.variant) == ("1", "stable")
        cell = trials.cell(epoch, ref, lambda cell: cell.shadowed == number + 1)  # noqa: B023
    assert (cell.shadow_non_finite, cell.shadow_errors, cell.shadow_skipped) == (3, 0, 0)
    assert (cell.answered, cell.requests) == (0, 0)
    trials.done_with(ref)


def test_nobody_waits_for_a_shadow_that_hangs(trials: Trials) -> None:
    ref = trials.load(endless)
    epoch = trials.worker.route(FIRST, shadow=ref)
    hung_before = trials.hung[0]
    before = trials.threads()
    assert factor_in(trials.ask(BAD)) == THRESHOLD
    trials.runs(ref)
    trials.worker.until(trials.runs_behind_everybody, "it runs in a nice thread", 0.5)
    answered = 0
    while trials.hung[0] == hung_before:
        assert factor_in(trials.ask()) == 1.0
        answered += 1
    assert answered > 20
    assert not trials.slowed(before)
    assert trials.hung == (hung_before + 1, ref.seat, ref.generation)
    cell = trials.cell(epoch, ref, lambda cell: cell.shadow_errors == 1)
    assert cell.shadow_skipped >= 20
    trials.done_with(ref)


def test_a_shadow_that_is_taken_away_is_ended_and_nothing_is_held_against_it(trials: Trials) -> None:
    ref = trials.load(endless)
    epoch = trials.worker.route(FIRST, shadow=ref)
    hung_before = trials.hung[0]
    trials.ask(BAD)
    trials.runs(ref)
    trials.worker.route(FIRST)
    cell = trials.cell(epoch, ref, lambda cell: cell.shadow_skipped == 1)
    assert (cell.shadowed, cell.shadow_errors) == (0, 0)
    assert trials.hung[0] == hung_before
    trials.done_with(ref)


def test_a_shadow_gives_way_to_a_canary(trials: Trials) -> None:
    shadow, canary = trials.load(endless), trials.load(scaled)
    epoch = trials.worker.route(FIRST, shadow=shadow, canary=canary, canary_ppm=HALF, salt=SALT)
    hung_before = trials.hung[0]
    trials.ask(BAD, routing_key=STABLES[0])
    trials.runs(shadow)
    assert factor_in(trials.ask(routing_key=CANARYS[0])) == 2.0
    cell = trials.cell(epoch, shadow, lambda cell: cell.shadow_skipped == 1)
    assert (cell.shadowed, cell.shadow_errors) == (0, 0)
    assert trials.hung[0] == hung_before
    trials.done_with(shadow, canary)


# --- Workers of their own ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(("stable", "goes_home"), [(alone(1), False), (scaled(1), True)])
def test_a_worker_whose_canary_does_not_end_even_then_says_so_and_goes(
    tmp_path: Path, stable: bytes, goes_home: bool
) -> None:
    versions = Versions(tmp_path)
    versions.push(stable, 1, ("stable",))
    worker = OperatedWorker("fast", versions, tmp_path, trial=TrialSettings(watchdog_ms=200, watchdog_grace_ms=200))
    worker.start()
    try:
        worker.wait_for(WorkerState.READY)
        with worker.channel() as channel:
            trials = Trials(worker, channel)
            ref = trials.load(deaf)
            trials.canary(ref)
            waits = trials.begin(BAD, routing_key=CANARYS[0])
            trials.runs(ref)
            assert factor_in(trials.ask(routing_key=STABLES[0])) == 1.0
            if goes_home:
                worker.route(FIRST)
            assert worker.process is not None
            assert worker.process.wait(20) == EXIT_HUNG
            assert waits.code() is not grpc.StatusCode.OK
            assert trials.hung == (1, ref.seat, ref.generation), "the culprit, also where its run has ended by now"
    finally:
        worker.stop()
        worker.close()


def test_a_run_that_hears_nothing_of_its_canarys_going_home_is_noted_and_its_caller_answered(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.push(scaled(1), 1, ("stable",))
    settings = TrialSettings(watchdog_ms=1000, watchdog_grace_ms=60_000)
    with OperatedWorker("fast", versions, tmp_path, trial=settings) as worker, worker.channel() as channel:
        trials = Trials(worker, channel)
        ref = trials.load(lambda factor: deaf(factor, boxes=50_000))
        trials.canary(ref)
        waits = trials.begin(BAD, routing_key=CANARYS[0])
        trials.runs(ref)
        worker.route(FIRST)
        assert factor_in(waits.result()) == THRESHOLD, "by the stable"
        assert trials.hung == (1, ref.seat, ref.generation)
        trials.done_with(ref)


def test_a_canary_is_given_the_time_that_its_stable_takes(tmp_path: Path) -> None:
    """A model that takes longer than `trial.watchdog_ms` for some rows is not ended for being what its stable is."""
    versions = Versions(tmp_path)
    versions.push(looping(1, 10_000), 1, ("stable",))
    settings = TrialSettings(watchdog_ms=10, watchdog_multiple=1000)
    with OperatedWorker("fast", versions, tmp_path, trial=settings) as worker, worker.channel() as channel:
        trials = Trials(worker, channel)
        started = time.monotonic()
        trials.ask(BAD)
        assert time.monotonic() - started > 0.01, "longer than the least that is allowed"
        ref = trials.load(lambda _factor: looping(2, 10_000))
        trials.canary(ref)
        assert factor_in(trials.ask(BAD, routing_key=CANARYS[0])) == 2 * THRESHOLD
        assert trials.hung[0] == 0
