"""Promises about drift: how often quiet streams alarm, how soon shifted ones do, and whether simulation bears it out.

Used by `benchmarks.calibrate`. A question is a world and, maybe, a shift; its streams are simulated in parts that
processes share. Always: a stream's seed is its question's name and its number, so that a figure can be had again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from enum import Enum
from itertools import repeat
from typing import Any, Final

import numpy as np

from benchmarks.calibration.drift_pairs import LOOK_ROWS, PairWorld, first_model
from benchmarks.calibration.drift_streams import THRESHOLD, Became, run
from benchmarks.calibration.drift_worlds import NONE, DriftWorld, Shift
from benchmarks.calibration.promises import binomial_quantile
from server.judgement.drift.canary import PairLimits

PART: Final = 4
PAIR_LOOKS: Final = 90
SHIFTED_WINDOWS: Final = 100
NEVER: Final = np.iinfo(np.int64).max
ANY_SIZE: Final = PairLimits(tau=1e-6, z=0.0)
"""A rollout's false alarms are counted without the practical size, which would hide that the evidence is wrong."""


class DriftAsked(Enum):
    """What a question is about; its value heads the table."""

    QUIET = "Quiet streams of windows: alarmed"
    CONTROL = "What the server does not do, and why: quiet streams that alarmed"
    FOUND = "Shifted streams of 16 features: windows until the alarm"
    SAME = "Rollouts whose model is no different: called the model's"
    MODEL = "Rollouts whose canary predicts otherwise: rows until it is called the model's"


@dataclass(frozen=True)
class DriftQuestion:
    """One row. streams: of a full run. median_max: of windows, or of rows for rollouts, until the alarm.

    detector_max: of windows until the detector reaches its threshold, whatever the size of the shift.
    """

    name: str
    asked: DriftAsked
    world: DriftWorld | PairWorld
    streams: int
    shift: Shift = NONE
    dispersion: bool = True
    median_max: int | None = None
    detector_max: int | None = None


@dataclass(frozen=True)
class DriftAnswer:
    """became: of each stream. windows: of a quiet stream, or looks of a rollout, or at most after a shift."""

    question: DriftQuestion
    windows: int
    became: tuple[Became, ...]

    @property
    def streams(self) -> int:
        return len(self.became)

    @property
    def alarmed(self) -> int:
        return sum(one.alarm >= 0 for one in self.became)

    @property
    def detected(self) -> int:
        """Streams whose detector reached its threshold, whatever the size of the shift."""
        return sum(one.detector >= 0 for one in self.became)

    @property
    def most(self) -> int | None:
        """How many alarms are in keeping with the promise, its sampling error in; None where it is not about a rate."""
        match self.question.asked:
            case DriftAsked.QUIET | DriftAsked.CONTROL:
                return binomial_quantile(self.streams, self.windows / THRESHOLD)
            case DriftAsked.SAME:
                return binomial_quantile(self.streams, ANY_SIZE.alpha)
            case _:
                return None

    @property
    def median(self) -> int | None:
        """Windows, or rows of a rollout, until the alarm, 1 for at once; None where most had none."""
        return _median([one.alarm for one in self.became])

    @property
    def detector_median(self) -> int | None:
        return _median([one.detector for one in self.became])

    @property
    def moderate_median(self) -> int | None:
        """Windows until the rule of 0.1 fires."""
        return _median([one.moderate for one in self.became])

    @property
    def rows(self) -> int | None:
        """Rows until the alarm."""
        world = self.question.world
        return self.median if self.median is None or isinstance(world, PairWorld) else self.median * world.rows

    @property
    def moderate_windows(self) -> float:
        """Windows of a stream in which the rule of 0.1 fires, on average."""
        return float(np.mean([one.moderate_windows for one in self.became]))

    @property
    def large_windows(self) -> float:
        return float(np.mean([one.large_windows for one in self.became]))

    @property
    def kept(self) -> bool | None:
        """Whether the promise holds; None where there is none. A control must fail, or the simulation sees nothing."""
        match self.question.asked, self.most:
            case DriftAsked.CONTROL, int(most):
                return self.detected > most
            case DriftAsked.QUIET, int(most):
                # The detector by itself keeps the promise; that an alarm also needs a size must not be what saves it.
                return self.alarmed <= most and self.detected <= most
            case DriftAsked.SAME, int(most):
                return self.alarmed <= most
        promised = [
            median is not None and median <= most
            for median, most in (
                (self.median, self.question.median_max),
                (self.detector_median, self.question.detector_max),
            )
            if most is not None
        ]
        return all(promised) if promised else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "asked": self.question.asked.name.lower(),
            "name": self.question.name,
            "streams": self.streams,
            "windows": self.windows,
            "alarmed": self.alarmed,
            "detected": self.detected,
            "most": self.most,
            "median": self.median,
            "median_rows": self.rows,
            "median_max": self.question.median_max,
            "detector_median": self.detector_median,
            "detector_max": self.question.detector_max,
            "rule_of_01_median": self.moderate_median,
            "rule_of_01_windows": self.moderate_windows,
            "rule_of_02_windows": self.large_windows,
            "named": sum(one.named for one in self.became),
            "named_wrongly": sum(one.named_wrongly for one in self.became),
            "kept": self.kept,
        }


def drift_questions() -> list[DriftQuestion]:
    return [*_quiet(), *_controls(), *_shifted(), *_rollouts()]


def answered_drift(
    questions: Iterable[DriftQuestion],
    share: float,
    windows: int,
    executor: Executor | None,
    done: Callable[[DriftAnswer], None],
) -> list[DriftAnswer]:
    """Simulates `share` of each question's streams, two at least, and tells `done` of each answer as it comes."""
    asked = list(questions)
    parts = [
        (question, first, min(PART, streams - first))
        for question in asked
        for streams in (max(2, round(question.streams * share)),)
        for first in range(0, streams, PART)
    ]
    columns = ([part[0] for part in parts], [part[1] for part in parts], [part[2] for part in parts], repeat(windows))
    results = iter(map(_part, *columns) if executor is None else executor.map(_part, *columns))
    answers = []
    for question in asked:
        mine = [next(results) for owner, _, _ in parts if owner is question]
        answers.append(DriftAnswer(question, _length(question, windows), tuple(one for part in mine for one in part)))
        done(answers[-1])
    return answers


def _part(question: DriftQuestion, first: int, streams: int, windows: int) -> list[Became]:
    found = []
    for stream in range(first, first + streams):
        rng = np.random.default_rng([zlib.crc32(f"{question.asked.name} {question.name}".encode()), stream])
        length = _length(question, windows)
        if isinstance(question.world, DriftWorld):
            found.append(run(question.world, rng, length, question.shift, dispersion=question.dispersion))
        else:
            limits = ANY_SIZE if question.asked is DriftAsked.SAME else PairLimits()
            rows = first_model(question.world, rng, length, limits)
            found.append(Became(alarm=rows if rows < 0 else rows - 1))
    return found


def _length(question: DriftQuestion, windows: int) -> int:
    match question.asked:
        case DriftAsked.QUIET | DriftAsked.CONTROL:
            return windows
        case DriftAsked.FOUND:
            return SHIFTED_WINDOWS
        case _:
            return PAIR_LOOKS


def _quiet() -> list[DriftQuestion]:
    found = []
    for features, streams in ((16, 40), (200, 12)):
        for rows in (100, 1_000, 10_000):
            for name, more in (
                ("independent", {}),
                ("clustered tenfold by key", {"cluster": 10}),
                ("a daily season", {"seasonal": True}),
            ):
                world = DriftWorld(features, rows, **more)  # type: ignore[arg-type]
                found.append(
                    DriftQuestion(f"{rows:,} rows, {features} features, {name}", DriftAsked.QUIET, world, streams)
                )
    small = DriftWorld(16, 10_000, reference_rows=1_200)
    return [*found, DriftQuestion("10,000 rows against a reference of 1,200", DriftAsked.QUIET, small, 40)]


def _controls() -> list[DriftQuestion]:
    control = DriftAsked.CONTROL
    return [
        DriftQuestion(
            "rows of a key counted as independent", control, DriftWorld(16, 1_000, cluster=10), 12, dispersion=False
        ),
        DriftQuestion(
            "a daily season against the training reference", control,
            DriftWorld(16, 1_000, seasonal=True, by_hour=False), 12,
        ),
    ]  # fmt: skip


SHIFTS: Final = (
    ("0.1 sd", Shift(sigmas=0.1)),
    ("0.3 sd", Shift(sigmas=0.3)),
    ("1 sd", Shift(sigmas=1.0)),
    ("new level, 0 -> 5 %", Shift(new_level=0.05)),
    ("missing, 0 -> 2 %", Shift(missing=0.02)),
)
SOON: Final[dict[int, tuple[tuple[int | None, int | None], ...]]] = {
    100: ((None, None), (None, None), (4, 3), (4, 4), (None, 15)),
    1_000: ((None, None), (None, 4), (2, 2), (2, 2), (4, 3)),
    10_000: ((None, 4), (None, 2), (1, 1), (1, 1), (2, 2)),
}
"""By rows, for each of SHIFTS: windows until the alarm, and until the detector's threshold, at most, in the median.
0.1 and 0.3 sd are PSI of 0.01 and 0.09, below tau, so that the detector alone has to see them."""


def _shifted() -> list[DriftQuestion]:
    found = []
    for rows, most in SOON.items():
        for features in (1, 5):
            for (name, one), (median_max, detector_max) in zip(SHIFTS, most, strict=True):
                shift = replace(one, features=min(features, 4) if one.new_level else features)
                found.append(
                    DriftQuestion(
                        f"{name} in {shift.features}, {rows:,} rows", DriftAsked.FOUND,
                        DriftWorld(16, rows), 20, shift, median_max=median_max, detector_max=detector_max,
                    )
                )  # fmt: skip
    return found


def _rollouts() -> list[DriftQuestion]:
    same, model = DriftAsked.SAME, DriftAsked.MODEL
    return [
        DriftQuestion("no keys", same, PairWorld(), 200),
        DriftQuestion("no keys, the population shifts by 1 sd", same, PairWorld(population=1.0), 200),
        DriftQuestion("300 keys that come again", same, PairWorld(keys=300), 200),
        DriftQuestion("2,000 keys by Zipf's law", same, PairWorld(keys=2_000, zipf=1.1), 200),
        DriftQuestion("scores off by 1 sd, no keys", model, PairWorld(sigmas=1.0), 40, median_max=10 * LOOK_ROWS),
        DriftQuestion("scores off by 0.5 sd, no keys", model, PairWorld(sigmas=0.5), 40, median_max=60 * LOOK_ROWS),
        DriftQuestion("scores off by 1 sd, 2,000 keys", model, PairWorld(sigmas=1.0, keys=2_000), 40),
    ]


def _median(found: Sequence[int]) -> int | None:
    middle = int(np.quantile(np.where(np.array(found) < 0, NEVER - 1, found), 0.5, method="lower"))
    return None if middle == NEVER - 1 else middle + 1
