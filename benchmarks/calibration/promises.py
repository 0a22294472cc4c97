"""Promises: what a verdict is said to be worth, and whether simulated rollouts bear it out.

Used by `benchmarks.calibrate`. Each question is one world with one policy; rollouts are simulated in parts, so that
two processes can share them and memory stays small.
Always: a part's seed is its question's name and its number, so that a figure can be had again, in any order of parts.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from enum import Enum
from itertools import repeat
from math import lgamma, log, log1p
from typing import Any, Final

import numpy as np

from benchmarks.calibration.outcomes import first, interval_misses, outcome, z_test_says_worse
from benchmarks.calibration.worlds import (
    PRIOR_RATES,
    Blocks,
    Counts,
    FirstEventsAmongRequests,
    Independent,
    Keyed,
    Rates,
    World,
)
from server.judgement.policy import Policy

PART_ROLLOUTS: Final = 50
SURE: Final = 0.99  # a promise that is just kept looks broken in one run of a hundred at most
FOUND_REQUESTS_MAX: Final = 15_000
ERRORS_ONLY: Final = Policy(error_weight=1.0 - 2e-9, non_finite_weight=1e-9, timeout_weight=1e-9)


class Asked(Enum):
    """What a question is about; its value heads the table."""

    FALSE_ROLLBACK = "Canaries that are no worse: rolled back"
    CONTROL = "What the server does not do, and why: rolled back although no worse"
    FOUND = "Canaries that are worse: requests until they go home"
    FALSE_PASS = "Canaries that are too bad to pass: let pass"
    CONTROL_PASS = "What the server does not do, and why: let pass although too bad"
    PASSED = "Identical canaries: requests until they are let pass"
    INTERVAL = "Intervals that ever left out the true ratio"


@dataclass(frozen=True)
class Question:
    """One row. promised: the policy whose alpha and beta are held against what `policy` did.

    by_z_test: the verdict is the z-test's. median_max: of requests until the verdict. share: of the run's rollouts,
    since not all figures need all of them. length: of the usual requests of a rollout.
    """

    name: str
    asked: Asked
    world: World
    policy: Policy = field(default_factory=Policy)
    promised: Policy = field(default_factory=Policy)
    by_z_test: bool = False
    median_max: int | None = None
    share: float = 1.0
    length: float = 1.0


@dataclass(frozen=True)
class Answer:
    """What became of a question's rollouts. requests: at the verdict asked for, -1 where it never came."""

    question: Question
    rollouts: int
    rollout_requests: int
    requests: Counts
    canary_requests: Counts
    z_test: int
    passed_instead: int

    @property
    def happened(self) -> int:
        return int((self.requests >= 0).sum())

    @property
    def most(self) -> int | None:
        """How many are in keeping with the promise; None where the question is not about a rate."""
        match self.question.asked:
            case Asked.FALSE_ROLLBACK | Asked.CONTROL | Asked.INTERVAL:
                return binomial_quantile(self.rollouts, self.question.promised.alpha)
            case Asked.FALSE_PASS | Asked.CONTROL_PASS:
                return binomial_quantile(self.rollouts, self.question.promised.beta)
            case _:
                return None

    @property
    def median(self) -> int | None:
        """Requests until the verdict, those without one counted as later than all; None where most had none."""
        return _median(self.requests)

    @property
    def canary_median(self) -> int | None:
        return _median(self.canary_requests)

    @property
    def kept(self) -> bool | None:
        """Whether the promise holds; None where there is none. A control must fail, or the simulation sees nothing."""
        if self.question.asked in (Asked.CONTROL, Asked.CONTROL_PASS):
            return self.most is not None and self.happened > self.most
        if self.most is not None:
            return self.happened <= self.most
        if self.question.median_max is not None:
            return self.median is not None and self.median <= self.question.median_max
        return None

    def to_dict(self) -> dict[str, Any]:
        return {
            "asked": self.question.asked.name.lower(),
            "name": self.question.name,
            "rollouts": self.rollouts,
            "rollout_requests": self.rollout_requests,
            "happened": self.happened,
            "most": self.most,
            "median_requests": self.median,
            "median_canary_requests": self.canary_median,
            "median_requests_max": self.question.median_max,
            "z_test": self.z_test,
            "passed_instead": self.passed_instead,
            "kept": self.kept,
        }


def binomial_quantile(trials: int, probability: float, sure: float = SURE) -> int:
    """The least count that `sure` of such runs do not exceed."""
    below = 0.0
    for count in range(trials + 1):
        logarithm = lgamma(trials + 1) - lgamma(count + 1) - lgamma(trials - count + 1)
        below += float(np.exp(logarithm + count * log(probability) + (trials - count) * log1p(-probability)))
        if below >= sure:
            return count
    return trials


def answered(questions: Iterable[Question], rollouts: int, requests: int, executor: Executor | None) -> list[Answer]:
    """Simulates each question's rollouts, in `executor`'s processes where there is one."""
    asked = list(questions)
    parts = [(question, part) for question in asked for part in range(_parts(question, rollouts))]
    sizes = [min(PART_ROLLOUTS, _rollouts(question, rollouts) - part * PART_ROLLOUTS) for question, part in parts]
    work = ([question for question, _ in parts], [part for _, part in parts], sizes, repeat(requests))
    done = list(map(_part, *work)) if executor is None else list(executor.map(_part, *work))
    answers = []
    for question in asked:
        mine = [result for (owner, _), result in zip(parts, done, strict=True) if owner is question]
        answers.append(
            Answer(
                question,
                _rollouts(question, rollouts),
                int(requests * question.length),
                np.concatenate([part[0] for part in mine]),
                np.concatenate([part[1] for part in mine]),
                sum(part[2] for part in mine),
                sum(part[3] for part in mine),
            )
        )
    return answers


def _rollouts(question: Question, rollouts: int) -> int:
    return max(1, int(rollouts * question.share))


def _parts(question: Question, rollouts: int) -> int:
    return -(-_rollouts(question, rollouts) // PART_ROLLOUTS)


def _part(question: Question, part: int, rollouts: int, requests: int) -> tuple[Counts, Counts, int, int]:
    """Requests and canary requests at the verdict, z-tests that fired, and rollouts let pass before they were found."""
    rng = np.random.default_rng([zlib.crc32(question.name.encode()), zlib.crc32(question.asked.name.encode()), part])
    seen = question.world(rng, rollouts, int(requests * question.length))
    z_test = first(z_test_says_worse(seen))
    fired = int((z_test >= 0).sum())
    rows = np.arange(rollouts)
    if question.asked is Asked.INTERVAL or question.by_z_test:
        at = z_test if question.by_z_test else first(interval_misses(question.policy, seen, 1.0))
        late = np.maximum(at, 0)
        return (
            np.where(at < 0, -1, seen.requests[rows, late]),
            np.where(at < 0, -1, seen.canary_requests[rows, late]),
            fired,
            0,
        )
    rolled_back = question.asked in (Asked.FALSE_ROLLBACK, Asked.CONTROL)
    became = outcome(question.policy, seen, passing=not rolled_back)
    if question.asked in (Asked.FALSE_PASS, Asked.CONTROL_PASS, Asked.PASSED):
        return became.passed_requests, became.passed_canary_requests, fired, 0
    return became.worse_requests, became.worse_canary_requests, fired, int((became.passed_requests >= 0).sum())


def _median(values: Counts) -> int | None:
    middle = np.median(np.where(values < 0, np.inf, values))
    return int(middle) if np.isfinite(middle) else None


def _times(factor: float) -> Rates:
    errors, non_finite, timeouts = PRIOR_RATES
    return (errors * factor, non_finite * factor, timeouts * factor)


def _errors(rate: float) -> Rates:
    return (rate, *PRIOR_RATES[1:])


def _only(rate: float) -> Rates:
    return (rate, 0.0, 0.0)


MIDWAY: Final = ((0.0, 10_000), (0.2, 50_000), (0.5, 250_000), (0.8, 500_000))
MOVING: Final = Independent(weights=MIDWAY, swing=10.0, wave_requests=2_000_000)
WITHOUT_CAP: Final = Policy(cap=1e-9)
# Nobody fails, but for some keys where the canary answers them.
FAILS_FOR_HEAVY_KEYS: Final = Keyed(
    keys=100_000, weight_ppm=500_000, failing_share=0.0, other_rate=0.0, canary_failing=10, canary_failing_rate=0.05
)
FAILS_FOR_ONE_KEY_IN_100: Final = Keyed(
    keys=1_000, exponent=0.0, failing_share=0.0, other_rate=0.0, canary_failing=10, heaviest=False
)
FAILS_FOR_ONE_KEY_IN_10: Final = Keyed(
    keys=50, weight_ppm=500_000, failing_share=0.0, other_rate=0.0, canary_failing=5, canary_failing_rate=0.05,
    heaviest=False,
)  # fmt: skip
TOO_BAD_BY_KEY: Final = (
    ("100,000 Zipf keys, 50 %, the 10 heaviest fail in 5 %", FAILS_FOR_HEAVY_KEYS),
    ("1,000 keys, 5 %, 10 of them fail", FAILS_FOR_ONE_KEY_IN_100),
    ("50 Zipf keys, 50 %, 5 of them fail in 5 %", FAILS_FOR_ONE_KEY_IN_10),
)


def questions() -> Sequence[Question]:
    """All that is asked of the judge."""
    return (
        Question("constant weights", Asked.FALSE_ROLLBACK, Independent()),
        Question("weights 1, 5, 25, 50 %", Asked.FALSE_ROLLBACK, Independent(weights=MIDWAY)),
        Question("error rates swing tenfold", Asked.FALSE_ROLLBACK, Independent(swing=10.0)),
        Question("both, in one wave", Asked.FALSE_ROLLBACK, MOVING),
        Question("keyed, Zipf, clustered errors", Asked.FALSE_ROLLBACK, Keyed()),
        Question("client of period 20, shuffled blocks", Asked.FALSE_ROLLBACK, Blocks(period=True)),
        Question("two workers' counts merged", Asked.FALSE_ROLLBACK, Blocks(workers=2)),
        Question("1.1 times as bad: the margin itself", Asked.FALSE_ROLLBACK, Independent(canary=_times(1.1))),
        Question("the same, errors alone judged", Asked.FALSE_ROLLBACK, Independent(canary=_times(1.1)), ERRORS_ONLY),
        Question("identical, errors alone judged", Asked.FALSE_ROLLBACK, Independent(), ERRORS_ONLY),
        Question("a z-test at each look", Asked.CONTROL, Independent(), by_z_test=True),
        Question("a z-test, both in one wave", Asked.CONTROL, MOVING, by_z_test=True),
        Question("keyed traffic, every event counted", Asked.CONTROL, Keyed(first_events=False)),
        Question("a fixed rhythm for blocks, period 20", Asked.CONTROL, Blocks(period=True, shuffled=False)),
        Question("errors 0.1 -> 1 %", Asked.FOUND, Independent(canary=_errors(0.01)), median_max=FOUND_REQUESTS_MAX),
        Question("errors 0.1 -> 0.5 %", Asked.FOUND, Independent(canary=_errors(0.005))),
        Question("errors 0.1 -> 0.2 %", Asked.FOUND, Independent(canary=_errors(0.002))),
        Question("errors 1 -> 1.5 %", Asked.FOUND, Independent(_errors(0.01), _errors(0.015)), share=0.25),
        Question("errors 0.1 -> 1 %, errors alone judged", Asked.FOUND, Independent(canary=_errors(0.01)), ERRORS_ONLY),
        Question("non-finite outputs 0 -> 1 %", Asked.FOUND,
                 Independent(stable=(0.001, 0.0, 0.0005), canary=(0.001, 0.01, 0.0005))),
        Question("timeouts 0.05 -> 2 %", Asked.FOUND, Independent(canary=(0.001, 0.0002, 0.02))),
        Question("errors 0.4 -> 0.5 %, above the cap", Asked.FALSE_PASS,
                 Independent(_only(0.004), _only(0.005), weights=((0.0, 500_000),)), share=0.5),
        Question("errors 0.08 -> 0.1 %, at the cap", Asked.FALSE_PASS,
                 Independent(_only(0.0008), _only(0.001), weights=((0.0, 500_000),)), share=0.5),
        *(Question(name, Asked.FALSE_PASS, world, share=0.5) for name, world in TOO_BAD_BY_KEY),
        *(
            Question(f"{name}; keys against requests", Asked.CONTROL_PASS, FirstEventsAmongRequests(world), share=0.5)
            for name, world in TOO_BAD_BY_KEY
        ),
        *(
            Question(f"errors {100 * rate:g} %, weight {weight // 10_000} %", Asked.PASSED,
                     Independent(_only(rate), _only(rate), weights=((0.0, weight),), look_requests=2_500),
                     share=0.1, length=5.0)
            for rate in (0.0, 0.0001, 0.001, 0.01)
            for weight in (50_000, 500_000)
        ),
        Question("errors 0 %, weight 50 %, no cap", Asked.PASSED,
                 Independent(_only(0.0), _only(0.0), weights=((0.0, 500_000),), look_requests=2_500),
                 WITHOUT_CAP, share=0.1, length=5.0),
        *(
            Question(f"{keys:,} Zipf keys, no errors, weight {weight // 10_000} %", Asked.PASSED,
                     Keyed(keys=keys, weight_ppm=weight, failing_share=0.0, other_rate=0.0), share=0.05)
            for keys, weight in ((20_000, 50_000), (20_000, 500_000), (1_000_000, 50_000))
        ),
        Question("constant weights", Asked.INTERVAL, Independent(), share=0.1),
    )  # fmt: skip
