"""Rows to judge, made up: every kind of column, an association to break, two tasks; and graphs as plain functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.definition import Classification, Definition, Load, Prose, Regression
from pipelines.evaluation.examination import Examination, Subject, examine
from pipelines.evaluation.gates import Check, judged
from pipelines.evaluation.predicting import Run, Tensors
from pipelines.examples import Examples, Split
from pipelines.features.declaration import Code, Cycle, FeatureSet, Number, Text
from pipelines.parameters import Gates

AGE, SEX, JOB, HOUR = range(4)
LINES = ("AA", "BB", "CC")
FEATURES = FeatureSet((
    Number("age", "age", 0, 100, "years"),
    Code("sex", "sex", {1: "male", 2: "female"}),
    Code("job", "what they do", {0: "none", 1: "pilot", 2: "nurse"}),
    Cycle("hour", "hour of the day", 24.0),
    Text("line", "airline", LINES),
))  # fmt: skip
GATES = Gates(auc_min=0.7, accuracy_gain_min=0.05, slice_rows_min=200)
REGRESSION_GATES = Gates(mae_share_max=0.8, slice_rows_min=200)
MODEL_BYTES = 1000


def _fetch(_: Path, __: int | None) -> Iterator[Load]:
    yield from ()


def _split(_: Mapping[str, pa.Table]) -> Split:
    return split()


DEFINITION = Definition(
    name="made-up",
    title="Made up",
    task=Classification(("stays", "goes")),
    label="goes",
    tables=(),
    features=FEATURES,
    fetch=_fetch,
    split=_split,
    slices={"sex": "sex", "line": "airline", "year": "year"},
    prose=Prose((), (), (), "made up"),
)
REGRESSION = replace(DEFINITION, task=Regression("minutes"), label="late")


def split(training: int = 3000, evaluation: int = 4000, seed: int = 0) -> Split:
    """Training of 2015, evaluation of 2016 and 2017 in halves; classes."""
    random = np.random.default_rng(seed)
    years = 2016 + (np.arange(evaluation) * 2) // evaluation
    return Split(_rows(random, np.full(training, 2015)), _rows(random, years))


def regression_split(seed: int = 0) -> Split:
    """The same with minutes for labels."""
    classes, random = split(seed=seed), np.random.default_rng(seed)
    return Split(
        *(replace(part, labels=late_of(part.numbers) + random.normal(0, 8, len(part)))
          for part in (classes.training, classes.evaluation))
    )  # fmt: skip


def _rows(random: np.random.Generator, years: np.ndarray) -> Examples:
    rows = len(years)
    sex = random.integers(1, 3, rows)
    # Pilots are male and nurses female, as good as always: the association that a swap of codes breaks.
    at_work, typical = random.random(rows) < 0.5, random.random(rows) < 0.95
    job = np.where(at_work, np.where(typical, sex, 3 - sex), 0)
    numbers = np.column_stack([random.integers(0, 101, rows), sex, job, random.uniform(0, 24, rows)]).astype(np.float32)
    texts = np.array(LINES, dtype=object)[random.integers(0, 3, (rows, 1))]
    labels = (random.random(rows) < probability_of(numbers)).astype(np.float64)
    slices = {
        "sex": np.where(sex == 1, "male", "female").astype(object),
        "line": texts[:, 0],
        "year": years.astype(str).astype(object),
    }
    at_s = (years - 1970).astype("datetime64[Y]").astype("datetime64[s]").astype(np.int64)
    keys = np.array([f"{year}-{row}" for row, year in enumerate(years)], dtype=object)
    return Examples(numbers, texts, labels, slices, keys, at_s)


def probability_of(numbers: np.ndarray) -> np.ndarray:
    """float64[rows]; what is missing counts as the middle of the road."""
    known = _known(numbers)
    return np.asarray(1 / (1 + np.exp(-(0.06 * (known[:, AGE] - 50) + 0.8 * (known[:, JOB] - 0.5)))))


def late_of(numbers: np.ndarray) -> np.ndarray:
    known = _known(numbers)
    return np.asarray(0.5 * known[:, AGE] + 3 * known[:, JOB])


def _known(numbers: np.ndarray) -> np.ndarray:
    bounds = np.array([100, 2, 2, 24])
    middles = np.array([50, 1.5, 0.5, 12])
    return np.where((numbers >= 0) & (numbers <= bounds), numbers, middles).astype(np.float64)


def classes_run(inputs: Tensors) -> Tensors:
    """A graph that knows how the labels were made."""
    probability = probability_of(inputs["features"])
    both = np.column_stack([1 - probability, probability]).astype(np.float32)
    return {"label": (probability > 0.5).astype(np.int64), "probabilities": both}


def regression_run(inputs: Tensors) -> Tensors:
    return {"prediction": late_of(inputs["features"]).astype(np.float32)}


def examined(rows: Split, run: Run = classes_run, definition: Definition = DEFINITION) -> Examination:
    subject = Subject(definition, rows, run, MODEL_BYTES, seed=1, rows_min=GATES.slice_rows_min)
    return examine(subject, lambda _: None)


def failed(checks: tuple[Check, ...]) -> dict[str, list[str]]:
    """By gate the places where it failed."""
    found: dict[str, list[str]] = {}
    for check in checks:
        if not check.passed:
            found.setdefault(check.gate, []).append(check.on)
    return found


def failed_after(spoil: Callable[[Split], Split], gates: Gates = GATES) -> dict[str, list[str]]:
    """What fails where rows are spoilt and the graph is the good one."""
    return failed(judged(examined(spoil(split())), gates))


def with_column(part: Examples, column: int, values: np.ndarray) -> Examples:
    numbers = part.numbers.copy()
    numbers[:, column] = values
    return replace(part, numbers=numbers)
