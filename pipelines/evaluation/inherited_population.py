"""Inherited population: whether the rows that a model learnt from are like those that the stable version learnt from.

Records that were spoilt in every load alike fool each gate that holds one load against another: a model that learnt
ages in decades is right about ages in decades. What they were when the stable version was made is in its baseline.
Measured as in `population.py`, in the baseline's own bins. Always: of a stable version without a baseline nothing is
said, and texts, which have no bins, are not looked at. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.evaluation.measures import rounded
from pipelines.evaluation.population import CHANCE_ERRORS, psi
from pipelines.evaluation.table import aligned
from pipelines.examples import Examples
from registry_client.baseline.bins import bins_of
from registry_client.baseline.document import Baseline, Feature

GATE: Final = "population_of_stable"
PLACES_MAX: Final = 8


@dataclass(frozen=True)
class Inherited:
    """One column, or the label. psi: less what it is on average without any shift. beyond_chance: what is judged."""

    name: str
    psi: float
    beyond_chance: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.beyond_chance <= self.bound

    def as_json(self) -> dict[str, Any]:
        figures = {"psi": rounded(self.psi), "beyond_chance": rounded(self.beyond_chance)}
        return {"on": self.name, "passed": self.passed, **figures}


def inherited(baseline: Baseline, training: Examples, bound: float) -> tuple[Inherited, ...]:
    """Of each column that the baseline has bins of how far training's rows are from them, the furthest first."""
    inputs = training.inputs()
    found = [_shift(feature, values, bound) for feature, values in _columns(baseline.inputs, inputs)]
    found += [_shift(feature, training.labels, bound) for feature in baseline.labels]
    return tuple(sorted(found, key=lambda one: (-one.beyond_chance, -one.psi, one.name)))


def table(shifts: tuple[Inherited, ...]) -> tuple[str, ...]:
    """Those that failed, the furthest first."""
    rows = [(GATE, one.name, f"{one.beyond_chance:.4g}", f"at most {one.bound:g}") for one in shifts if not one.passed]
    return aligned([("gate", "on", "PSI", "bound"), *rows[:PLACES_MAX]])


def _columns(
    features: tuple[Feature, ...], inputs: Mapping[str, npt.NDArray[Any]]
) -> Iterator[tuple[Feature, npt.NDArray[Any]]]:
    for feature in features:
        if feature.tensor in inputs:
            yield feature, inputs[feature.tensor][:, feature.column]


def _shift(feature: Feature, values: npt.NDArray[Any], bound: float) -> Inherited:
    counts = np.bincount(bins_of(feature, values), minlength=len(feature.counts)).astype(np.float64)
    value, bins = psi(counts, np.array(feature.counts, dtype=np.float64))
    freedom, unit = bins - 1, 1 / len(values) + 1 / feature.rows
    free = value - freedom * unit
    return Inherited(feature.name, free, max(free - CHANCE_ERRORS * unit * math.sqrt(2 * freedom), 0.0), bound)
