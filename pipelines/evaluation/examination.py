"""Examination: everything that is measured of one model, before anybody asks whether it is enough.

`examine` is called by the evaluate stage; `gates.py` judges what it gives, `report.py` writes it down. Always: it
depends on the graph, the rows and the seed alone; speed, which does not, is `budgets.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.definition import Definition
from pipelines.evaluation.calibration import Calibration, calibration
from pipelines.evaluation.leakage import Duplicates, Strength, duplicates, strengths
from pipelines.evaluation.levels import coarse, coarse_label, leveled, leveled_label
from pipelines.evaluation.measures import Judge, Measures, Outcomes
from pipelines.evaluation.population import Population, both_parts, column_shifts, comparisons, pair_shifts, spans
from pipelines.evaluation.predicting import Run, outcomes
from pipelines.evaluation.robustness import Extreme, Missing, extremes, missing
from pipelines.evaluation.slices import Slice, rows_by_period, slices
from pipelines.examples import Split
from pipelines.refusal import Refusal


@dataclass(frozen=True)
class SliceResult:
    """measures: None where evaluation has no row of the slice."""

    slice: Slice
    measures: Measures | None


@dataclass(frozen=True)
class Examination:
    """not_finite: rows of evaluation with an answer that is no number; all measures are of the others."""

    judge: Judge
    training_rows: int
    evaluation_rows: int
    not_finite: int
    whole: Measures
    periods: Mapping[str, Measures]
    slices: tuple[SliceResult, ...]
    calibration: Calibration
    missing: Missing
    extremes: tuple[Extreme, ...]
    population: Population
    strengths: tuple[Strength, ...]
    duplicates: Duplicates
    model_bytes: int


@dataclass(frozen=True)
class Subject:
    """What is examined. run: the graph. rows_min: a period of fewer is not compared with its neighbours."""

    definition: Definition
    split: Split
    run: Run
    model_bytes: int
    seed: int
    rows_min: int


def examine(subject: Subject, say: Callable[[str], None]) -> Examination:
    """Everything. Raises Refusal where no answer is a number, or a part has no rows."""
    definition, split = subject.definition, subject.split
    _refuse_empty(split)
    evaluation = split.evaluation
    judge = Judge(definition.task, float(np.median(split.training.labels)))
    say(f"answering {len(evaluation):,} rows")
    answers = outcomes(subject.run, evaluation, definition.task)
    finite = np.isfinite(answers.values)
    if not finite.any():
        raise Refusal(
            "model.onnx", expected="answers that are numbers", got=f"none in {len(evaluation)} rows",
            hint="Run the train stage again; if it is so again, a smaller learning rate may help.",
        )  # fmt: skip
    told, kept = answers.take(finite), evaluation.take(finite)
    say("measuring slices")
    results = tuple(_sliced(judge, answers, one, finite) for one in slices(split))
    say("trying missing and extreme values")
    poorer = missing(subject.run, judge, kept, told, subject.seed)
    extreme = extremes(subject.run, judge, definition.features, kept)
    say("comparing training with evaluation")
    return Examination(
        judge=judge,
        training_rows=len(split.training),
        evaluation_rows=len(evaluation),
        not_finite=int((~finite).sum()),
        whole=judge.measure(told),
        periods={name: judge.measure(told.take(rows)) for name, rows in rows_by_period(kept.at_s).items()},
        slices=results,
        calibration=calibration(judge, told),
        missing=poorer,
        extremes=extreme,
        population=_population(subject),
        strengths=strengths(definition, split.training),
        duplicates=duplicates(split),
        model_bytes=subject.model_bytes,
    )


def _sliced(judge: Judge, answers: Outcomes, one: Slice, finite: np.ndarray) -> SliceResult:
    rows = one.rows & finite
    return SliceResult(one, judge.measure(answers.take(rows)) if rows.any() else None)


def _population(subject: Subject) -> Population:
    definition, split = subject.definition, subject.split
    features, label, task = definition.features, definition.label, definition.task
    together = both_parts(split)
    columns = leveled(features, split.training, together)
    few = coarse(features, split.training, together)
    compared = comparisons(split, subject.rows_min)
    whole, over_time = column_shifts((*columns, leveled_label(task, label, split.training, together)), compared)
    pairs = pair_shifts((*few, coarse_label(task, label, split.training, together)), compared)
    return Population(whole, over_time, pairs, tuple(spans(features, split)))


def _refuse_empty(split: Split) -> None:
    for name, part in (("training", split.training), ("evaluation", split.evaluation)):
        if not len(part):
            raise Refusal(
                f"{name}.parquet", expected="rows", got="none", hint="Run the snapshot and features stages again."
            )
