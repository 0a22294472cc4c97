"""Attribution: how much each feature pushed each of some answers up or down (SHAP values).

Trees are explained exactly, by the path-dependent TreeSHAP of Lundberg and others (*Nature Machine Intelligence* 2,
2020), on the learner that the graph was made from; encoded columns are summed to the features that they come from.
Anything else is asked as it is served: a row's features replace those of a background in random orders, there and back
(Castro and others, *Computers & Operations Research* 36, 2009). `shap.PermutationExplainer` does the same, but compiles
for 15 s in each process and seeds numpy's own state. Used by the bundle stage, told by `explanations.py`. Always: a
row's base and values add up to what the served graph answers to it, or there is a refusal; one thread, seeded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from pipelines.definition import Classification, Definition
from pipelines.examples import NUMBERS, TEXTS, Examples, Split
from pipelines.features.declaration import FeatureSet
from pipelines.features.matrix import Encoder
from pipelines.refusal import Refusal
from registry_client.golden import Run

Floats = npt.NDArray[np.float64]
Say = Callable[[str], None]

BACKGROUND_ROWS: Final = 100
ORDERS: Final = 2
"""Random orders of features, each there and back: a row takes 2 ORDERS (F + 1) BACKGROUND_ROWS answers."""
PIECE_ROWS: Final = 16_384
"""Answered at a time."""
SAY_ROWS: Final = 50
# What a share may be told apart by: float32 sums in the graph against float64 ones here; 2e-7 is seen on employment.
ADDITIVITY_BOUND: Final = 1e-5
PROBABILITY_LEAST: Final = 1e-6
"""Log-odds are of probabilities cut off here: a float32 that says exactly 1 would be infinitely sure."""


@dataclass(frozen=True)
class Explained:
    """n rows of evaluation. rows: int64[n], their places there. values: float64[n, F], by feature (FeatureSet.names).

    base, outputs: what the values lead from and, float64[n], to, in `unit`. answers: float64[n], what the graph says of
    the rows: the positive class's probability, or the prediction.
    """

    method: str
    unit: str
    rows: npt.NDArray[np.int64]
    base: float
    values: Floats
    outputs: Floats
    answers: Floats
    background_rows: int | None

    @property
    def shares(self) -> Floats:
        """float64[F]: mean |value| of each feature, as a share of all features'."""
        strengths: Floats = np.abs(self.values).mean(axis=0)
        return strengths / max(float(strengths.sum()), math.ulp(0.0))


def explain_trees(
    definition: Definition, source: str, encoder: Encoder, run: Run, evaluation: Examples, rows_max: int
) -> Explained:
    """Of the graph `run` and the LightGBM model `source` that it was made from. Raises Refusal.

    rows_max: how many of evaluation's, spread evenly. Values of classes are in the learner's own margin, which is the
    log-odds of the positive class where there are two.
    """
    import lightgbm
    import shap

    rows = spread_rows(len(evaluation), rows_max)
    sample = evaluation.take(rows)
    with threadpool_limits(1):
        booster = lightgbm.Booster(model_str=source)
        explainer = shap.TreeExplainer(booster, feature_perturbation="tree_path_dependent")
        found = explainer(encoder.encode(sample.inputs()).astype(np.float64), check_additivity=False)
    values, base = np.asarray(found.values, np.float64), np.asarray(found.base_values, np.float64)
    margins: Floats = base + values.sum(axis=1)
    answers = answers_of(definition, run, sample)
    _check_additive(answers_of_margins(definition, margins), answers)
    if isinstance(definition.task, Classification):
        positive = definition.task.positive
        if values.ndim == 3:
            values, base, margins = values[:, :, positive], base[:, positive], margins[:, positive]
        elif positive == 0:
            values, base, margins = -values, -base, -margins
    return Explained(
        "path-dependent TreeSHAP", _unit(definition), rows, float(base[0]),
        _by_feature(values, encoder.owners, len(definition.features.names)), margins, answers, None,
    )  # fmt: skip


def explain_graph(
    definition: Definition, run: Run, split: Split, rows_max: int, seed: int, say: Say = lambda words: None
) -> Explained:
    """Of the graph `run`, whatever it was made from, against rows spread over its answers to training. Raises Refusal.

    rows_max: how many of evaluation's, spread evenly. Values of classes are in log-odds of the positive class, those of
    a regression in the label's unit.
    """
    rows = spread_rows(len(split.evaluation), rows_max)
    sample = split.evaluation.take(rows)
    answered = answers_of(definition, run, split.training)
    background = split.training.take(typical_rows(answered, BACKGROUND_ROWS))
    swaps, random = Swaps(definition.features), np.random.default_rng(seed)

    def outputs_of(matrix: Floats) -> Floats:
        return _in_units(definition, _answers(definition, run, swaps.inputs(matrix)))

    asked, behind = swaps.matrix(sample), swaps.matrix(background)
    base, values = float(outputs_of(behind).mean()), np.empty(asked.shape)
    for place, row in enumerate(asked):
        if place % SAY_ROWS == 0:
            say(f"explaining answers: {place} of {len(rows)} rows")
        values[place] = permuted_values(outputs_of, row, behind, [random.permutation(len(row)) for _ in range(ORDERS)])
    answers = answers_of(definition, run, sample)
    outputs = _in_units(definition, answers)
    _check_additive(base + values.sum(axis=1), outputs)
    return Explained(
        "SHAP values by permutation", _unit(definition), rows, base, values, outputs, answers, len(background)
    )


def permuted_values(
    outputs_of: Callable[[Floats], Floats], row: Floats, background: Floats, orders: Sequence[npt.NDArray[np.int64]]
) -> Floats:
    """float64[F]: what each feature of `row`, float64[F], adds to the output, on average over orders there and back.

    outputs_of: of float64[n, F] float64[n]. background: float64[B, F], whose features those of the row replace one by
    one. orders: of 0 to F - 1. With every order there is, these are Shapley's values.
    """
    ways = [way for order in orders for way in (order, order[::-1])]
    features = len(row)
    # taken[w, k]: the features that way w has replaced after k steps.
    taken = np.zeros((len(ways), features + 1, features), dtype=bool)
    for way, steps in zip(taken, ways, strict=True):
        way[:, steps] = np.tri(features + 1, features, -1, dtype=bool)
    mixed = np.where(taken[:, :, None, :], row, background)
    outputs = outputs_of(mixed.reshape(-1, features)).reshape(len(ways), features + 1, len(background)).mean(axis=2)
    values = np.zeros(features)
    for steps, gains in zip(ways, np.diff(outputs, axis=1), strict=True):
        values[steps] += gains
    return values / len(ways)


def rounded(number: float) -> float:
    """A finite number to 6 significant digits: the last bit of a sum must not name another bundle."""
    return float(f"{float(number):.6g}")


def spread_rows(rows: int, wanted: int) -> npt.NDArray[np.int64]:
    """int64[min(rows, wanted)]: places spread evenly over `rows`."""
    return np.linspace(0, rows - 1, min(rows, wanted)).astype(np.int64)


def typical_rows(answers: Floats, wanted: int) -> npt.NDArray[np.int64]:
    """int64[min(n, wanted)]: places of answers, float64[n], in the middle of as many parts of equal size by rank.

    Their mean is near that of all: of flights 7.2 minutes, where all have 7.4 and a hundred rows spread over time 12.9.
    """
    parts = min(len(answers), wanted)
    ranks = (2 * np.arange(parts, dtype=np.int64) + 1) * len(answers) // (2 * parts)
    places: npt.NDArray[np.int64] = np.argsort(answers, kind="stable")[ranks]
    return places


def answers_of(definition: Definition, run: Run, examples: Examples) -> Floats:
    """float64[n]: the positive class's probability, or the prediction, that the graph answers to each row."""
    return _answers(definition, run, examples.inputs())


def answers_of_margins(definition: Definition, margins: Floats) -> Floats:
    """float64[n]: what a graph answers where the learner's margins are these, [n], or [n, C] of C > 2 classes."""
    if not isinstance(definition.task, Classification):
        return margins
    if margins.ndim == 1:
        positive: Floats = 1 / (1 + np.exp(-margins))
        return positive if definition.task.positive == 1 else 1 - positive
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    share: Floats = powers[:, definition.task.positive] / powers.sum(axis=1)
    return share


class Swaps:
    """Rows as one matrix of numbers whose columns can be swapped one by one, and back as the graph's inputs.

    Columns are those of `FeatureSet.names`; a text stands there as its place among the values, -1 for any other.
    """

    def __init__(self, features: FeatureSet) -> None:
        self._numbers = len(features.numbers)
        self._values = [np.array([*column.values, ""], dtype=object) for column in features.texts]
        self._places = [{value: place for place, value in enumerate(column.values)} for column in features.texts]

    def matrix(self, examples: Examples) -> Floats:
        columns = [*examples.numbers.T.astype(np.float64)]
        if examples.texts is not None:
            for places, column in zip(self._places, examples.texts.T, strict=True):
                columns.append(np.array([places.get(text, -1) for text in column], dtype=np.float64))
        return np.column_stack(columns)

    def inputs(self, matrix: Floats) -> dict[str, npt.NDArray[Any]]:
        inputs: dict[str, npt.NDArray[Any]] = {NUMBERS: matrix[:, : self._numbers].astype(np.float32)}
        if self._values:
            places = matrix[:, self._numbers :].astype(np.int64)
            inputs[TEXTS] = np.column_stack([
                values[column] for values, column in zip(self._values, places.T, strict=True)
            ])  # fmt: skip
        return inputs


def importance_shares(definition: Definition, explained: Explained) -> dict[str, float]:
    """By feature its share of all contributions, rounded to six digits."""
    return dict(zip(definition.features.names, map(rounded, explained.shares), strict=True))


def _answers(definition: Definition, run: Run, inputs: Mapping[str, npt.NDArray[Any]]) -> Floats:
    rows = len(inputs[NUMBERS])
    pieces = []
    for first in range(0, rows, PIECE_ROWS):
        outputs = run({name: array[first : first + PIECE_ROWS] for name, array in inputs.items()})
        if isinstance(definition.task, Classification):
            pieces.append(outputs["probabilities"][:, definition.task.positive])
        else:
            pieces.append(outputs["prediction"].reshape(-1))
    return np.concatenate(pieces).astype(np.float64)


def _in_units(definition: Definition, answers: Floats) -> Floats:
    if not isinstance(definition.task, Classification):
        return answers
    likely = np.clip(answers, PROBABILITY_LEAST, 1 - PROBABILITY_LEAST)
    odds: Floats = np.log(likely) - np.log1p(-likely)
    return odds


def _unit(definition: Definition) -> str:
    task = definition.task
    return f"log-odds of {task.labels[task.positive]}" if isinstance(task, Classification) else task.unit


def _by_feature(values: Floats, owners: npt.ArrayLike, features: int) -> Floats:
    summed = np.zeros((features, len(values)))
    np.add.at(summed, np.asarray(owners, dtype=np.int64), values.T)
    return np.ascontiguousarray(summed.T)


def _check_additive(sums: Floats, answers: Floats) -> None:
    off = np.abs(sums - answers) / np.maximum(1, np.abs(answers))
    worst = int(off.argmax())
    # Not `off > bound`: a NaN is off too.
    if not off[worst] <= ADDITIVITY_BOUND:
        raise Refusal(
            "explanations", expected=f"base and values to add up to the graph's answer, {answers[worst]:.9g}",
            got=f"{sums[worst]:.9g} at explained row {worst}",
            hint="The graph is not the learner that is explained: run the train stage again.",
        )  # fmt: skip
