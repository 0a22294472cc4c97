"""Rollouts whose end is known, each under the same checked load: how soon a bad canary is home, and what it cost.

Used by `python -m benchmarks.rollouts`. One server with default settings for all of them, so that each begins where the
last one ended. Always: a quiet moment of the same load comes before each rollout, so that its stable's p99 beside the
canary is compared with its p99 without one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.machine import LOAD_CORE, SERVER_CORE
from benchmarks.rollouts.canaries import STEPS_ENDLESS, SWELLING_MIB, failing, looping, not_a_number, swelling
from benchmarks.rollouts.world import KEYS, World
from benchmarks.swaps.caller import Caller, Mark
from benchmarks.swaps.operator import Operator, plane_of, roost
from benchmarks.swaps.versions import Versions, scaled
from native.plane.layout import WorkerState

RATE = 2000.0
WEIGHT = 0.05
WORKERS = 2
PLAN = ({"weight": WEIGHT, "minimum_requests": 100}, {"weight": 0.5, "minimum_requests": 200})
QUIET_S = 3.0
AFTER_S = 1.0  # runs that hang in a worker are ended by its watchdog meanwhile
VERDICT_S_MAX = 120.0
HARMLESS_KEYS = 512  # their inputs are below every canary's threshold
WORKER_BYTES_MAX = 1 << 30
SLOW_STEPS = 400  # a few milliseconds, far more than ten times what a batch takes
SLOW_S = 10.0
SETTINGS = {"trial": {"worker_memory_bytes_max": WORKER_BYTES_MAX}, "logs": {"format": "json"}}
NS_PER_MS = 1e6

Answers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Story:
    """A canary and what is to become of it. make: its model from its factor; None: a copy of the stable.

    keys: of the load, 0 for none. good_first: its first requests are harmless ones. crashes: its worker dies in its
    run. One that is slow within its time limits is found by nobody yet, but its stable must not suffer: it ends
    TAKEN_BACK, by the operator.
    """

    name: str
    make: Callable[[int], bytes] | None
    ends: str
    keys: int = KEYS
    good_first: bool = False
    crashes: bool = False


HOME, PROMOTED, TAKEN_BACK = "went_home", "promoted", "taken_back"
STORIES = (
    Story("an identical copy, keyless", None, PROMOTED, keys=0),
    Story("a good one, keyed", scaled, PROMOTED),
    Story("NaN after a while, keyed", not_a_number, HOME, good_first=True),
    Story("NaN for one range of keys", not_a_number, HOME),
    Story("NaN for some inputs, keyless", not_a_number, HOME, keys=0),
    Story("errors, keyless", failing, HOME, keys=0),
    Story("a hang, keyless", lambda factor: looping(factor, STEPS_ENDLESS), HOME, keys=0),
    Story("far slower, keyless", lambda factor: looping(factor, SLOW_STEPS), TAKEN_BACK, keys=0),
    Story("a native crash, keyless", lambda factor: looping(factor, 3000), HOME, keys=0, crashes=True),
    Story("a memory blow-up, keyless", lambda factor: swelling(factor, SWELLING_MIB), HOME, keys=0),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one rollout.

    requests, canary_requests: answered from the canary's first share (or its first harmful request) to the decision.
    bad_replies: wrong, failed, or lost with their connection, in all. last_bad_ms: of them, after the decision.
    stable_wrong: answers that claim another version and are wrong. p99 in microseconds, of the stable's answers to
    its own requests: not to those that it took over from the canary at the end.
    """

    story: Story
    ended: str
    requests: int
    canary_requests: int
    decided_s: float
    bad_replies: int
    last_bad_ms: float
    stable_wrong: int
    quiet_p99_us: float
    beside_p99_us: float
    all_agree: bool

    @property
    def p99_ratio(self) -> float:
        return self.beside_p99_us / self.quiet_p99_us


def rollouts(versions: Versions, stories: tuple[Story, ...], said: Callable[[str], None]) -> Iterator[Outcome]:
    """Each story's outcome, as it ends."""
    versions.push(scaled(1), 1, ("stable",))
    with (
        roost(versions, workers=WORKERS, core=SERVER_CORE, settings=SETTINGS) as server,
        Operator(server.ready["admin"]) as operator,
    ):
        world = World(versions, server, operator, plane_of(server.process.pid), load_core=LOAD_CORE)
        for number, story in enumerate(stories):
            said(f"{story.name}: {number + 1} of {len(stories)}")
            yield _rollout(world, story)


def _rollout(world: World, story: Story) -> Outcome:
    stable = world.versions.digests.index(world.digest("stable"))
    factor = world.versions.factors[stable] if story.make is None else len(world.versions.factors)
    model = scaled(factor, name=f"copy-{len(world.versions.factors)}") if story.make is None else story.make(factor)
    canary = world.push(model, factor)
    digest = world.versions.digests[canary]
    # The last story may have cost a worker: this one begins on a server that has recovered, as most rollouts do.
    world.until(world.somebody_stands_by, "a worker stands by")
    with world.caller(story.keys, seed=canary) as caller:
        caller.pace(rate=RATE)
        time.sleep(1.0)
        quiet = caller.mark()
        time.sleep(QUIET_S)
        quiet_p99_us = _p99_us(_of(caller.answers(quiet, caller.mark()), stable))
        began, undecided_ns, decided_ns = _run_out(world, story, caller, canary)
        time.sleep(AFTER_S)
        end = caller.mark()
        caller.settle()
        answers = caller.answers(began)
        bad = sorted([int(at) for at in answers[answers[:, 3] == 0, 1]] + [at for at, _, _ in caller.failures()])
        before = answers[answers[:, 1] <= decided_ns]
        # In flight at the decision: rows of the canary's queue among them, which the stable answers in its place.
        taken_over = (answers[:, 0] <= decided_ns) & (answers[:, 1] > undecided_ns)
        own = ~taken_over & (answers[:, 1] <= end.at_ns)
        beside = _of(answers[own], stable)
        stable_wrong = sum(count for version, count in caller.wrong.items() if version != canary)
        lost = caller.lost
    ended = HOME
    if world.digest("stable") == digest:
        ended = PROMOTED
    elif digest not in {one.digest for one in world.operator.state().quarantined}:
        ended = TAKEN_BACK
    return Outcome(
        story=story,
        ended=ended,
        requests=len(before),
        canary_requests=int(np.count_nonzero(before[:, 2] == canary)),
        decided_s=(decided_ns - began.at_ns) / 1e9,
        bad_replies=len(bad) + lost,
        last_bad_ms=max(0.0, (bad[-1] - decided_ns) / NS_PER_MS) if bad else 0.0,
        stable_wrong=stable_wrong,
        quiet_p99_us=quiet_p99_us,
        beside_p99_us=_p99_us(beside),
        all_agree=_agree(world),
    )


def _run_out(world: World, story: Story, caller: Caller, canary: int) -> tuple[Mark, int, int]:
    """Deploys and waits for the decision: when the harm began, and as `_decided_ns`."""
    plan = PLAN if story.ends == PROMOTED else None
    if not story.good_first:
        world.operator.deploy(canary, weight=None if plan else WEIGHT, plan=plan)
        began = caller.mark()
        if story.crashes:
            world.crash_in_its_run()
        if story.ends == TAKEN_BACK:
            time.sleep(SLOW_S)
            assert world.route.canary is not None, "nothing is wrong with it"
            world.operator.rollback()
        return began, *_decided_ns(world)
    caller.settle()
    with world.caller(HARMLESS_KEYS, seed=canary + 1) as good_times:
        good_times.pace(rate=RATE)
        world.operator.deploy(canary, weight=WEIGHT)
        world.until(lambda: good_times.right.get(canary, 0) > 500, "the canary answers well")
    began = caller.mark()
    caller.pace(rate=RATE)
    return began, *_decided_ns(world)


def _decided_ns(world: World) -> tuple[int, int]:
    """When the route last had a canary, and first had none, as far as was looked: each 2 ms, or later."""
    undecided_ns = time.monotonic_ns()

    def decided() -> bool:
        nonlocal undecided_ns
        looked_ns = time.monotonic_ns()
        if world.route.canary is None:
            return True
        undecided_ns = looked_ns
        return False

    world.until(decided, "a decision", VERDICT_S_MAX, every_s=0.002)
    return undecided_ns, time.monotonic_ns()


def _agree(world: World) -> bool:
    """Whether all workers are there again, and journal, plane, registry and operator are of one mind."""
    try:
        ready = [world.plane.block(index) for index in range(world.plane.workers)]
        world.until(lambda: all(block.state is WorkerState.READY for block in ready), "all workers are ready")
        world.check_that_all_agree()
    except AssertionError:
        return False
    return True


def _of(answers: Answers, version: int) -> Answers:
    return answers[answers[:, 2] == version]


def _p99_us(answers: Answers) -> float:
    return float(np.percentile(answers[:, 1] - answers[:, 0], 99)) / 1e3
