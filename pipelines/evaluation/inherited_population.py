"""Inherited population: whether the rows that a model learnt from are like those that the stable version learnt from.

Records that were spoilt in every load alike fool each gate that holds one load against another: a model that learnt
ages in decades is right about ages in decades. What they were when the stable version was made is in its baseline.
Measured as in `population.py`, in the baseline's own bins. Always: of a stable version without a baseline nothing is
said, and texts, which have no bins, are not looked at. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.evaluation.gates import Check
from pipelines.evaluation.population import CHANCE_ERRORS, psi
from pipelines.examples import Examples
from registry_client.baseline.bins import bins_of
from registry_client.baseline.document import Baseline, Feature

GATE: Final = "population_of_stable"


def shifts(baseline: Baseline, training: Examples, bound: float) -> tuple[Check, ...]:
    """Of each column that the baseline has bins of, and the label, how far training's rows are from them."""
    inputs = training.inputs()
    found = [_shift(feature, values, bound) for feature, values in _columns(baseline.inputs, inputs)]
    return (*found, *(_shift(feature, training.labels, bound) for feature in baseline.labels))


def _columns(
    features: tuple[Feature, ...], inputs: Mapping[str, npt.NDArray[Any]]
) -> Iterator[tuple[Feature, npt.NDArray[Any]]]:
    for feature in features:
        if feature.tensor in inputs:
            yield feature, inputs[feature.tensor][:, feature.column]


def _shift(feature: Feature, values: npt.NDArray[Any], bound: float) -> Check:
    counts = np.bincount(bins_of(feature, values), minlength=len(feature.counts)).astype(np.float64)
    value, bins = psi(counts, np.array(feature.counts, dtype=np.float64))
    freedom, unit = bins - 1, 1 / len(values) + 1 / feature.rows
    chance = freedom * unit + CHANCE_ERRORS * unit * math.sqrt(2 * freedom)
    return Check(
        GATE, "comparison.population_psi_max", max(value - chance, 0.0), "at most", bound, feature.name, len(values)
    )
