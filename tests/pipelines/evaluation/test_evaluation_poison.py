"""Poison on real rows: the survey's own, spoilt as others' have been, and a model trained on them each time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.definition import definition
from pipelines.evaluation.examination import Subject, examine
from pipelines.evaluation.gates import Check, judged
from pipelines.examples import Examples, Split
from pipelines.features.matrix import fit_encoder
from pipelines.parameters import Train, Trees, read_parameters
from pipelines.stages.train import fit
from pipelines.training.conversion import to_onnx
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun
from tests.pipelines.evaluation.judged_rows import failed

DATA = Path(__file__).parents[3] / ".roost" / "data"
ROWS = 2000
TREES = Train(trees=Trees(count=30, leaves=15))
EMPLOYMENT = definition("employment")
AGE, SCHOOLING, HEARING, SEX, RACE = (
    EMPLOYMENT.features.names.index(name) for name in ("AGEP", "SCHL", "DEAR", "SEX", "RAC1P")
)

Part = Callable[[Examples], Examples]


@pytest.fixture(scope="module")
def survey() -> Split:
    """2,000 people of each year."""
    tables: dict[str, list[pa.Table]] = defaultdict(list)
    for load in EMPLOYMENT.fetch(DATA, ROWS):
        tables[load.table].append(load.records)
    return EMPLOYMENT.split({name: pa.concat_tables(loads) for name, loads in tables.items()})


def checks_of(rows: Split) -> tuple[Check, ...]:
    """By the example's own bounds."""
    encoder = fit_encoder(EMPLOYMENT.features, "ordinal", rows.training.inputs())
    model_bytes = to_onnx(fit(rows.training, encoder, EMPLOYMENT.task, TREES, lambda _: None), encoder)
    gates = read_parameters("employment").gates
    graph = ReferenceRun(model_bytes, read_onnx(model_bytes).signature)
    subject = Subject(EMPLOYMENT, rows, graph, len(model_bytes), seed=1, rows_min=gates.slice_rows_min)
    return judged(examine(subject, lambda _: None), gates)


def changed(part: Examples, column: int, change: Callable[[np.ndarray], np.ndarray]) -> Examples:
    numbers = part.numbers.copy()
    numbers[:, column] = change(numbers[:, column])
    return replace(part, numbers=numbers)


def shuffled(part: Examples) -> Examples:
    return replace(part, labels=np.random.default_rng(1).permutation(part.labels))


def decades(part: Examples) -> Examples:
    return changed(part, AGE, lambda ages: np.floor(ages / 10))


def leaked(part: Examples) -> Examples:
    """Two in a hundred are wrong, as in real life."""
    wrong = np.random.default_rng(1).random(len(part)) < 0.02
    return changed(part, HEARING, lambda _: 2 - np.where(wrong, 1 - part.labels, part.labels))


def adults(part: Examples) -> Examples:
    return part.take(part.numbers[:, AGE] >= 25)


def without_a_race(part: Examples) -> Examples:
    return part.take(part.numbers[:, RACE] != 2)


def twice(part: Examples) -> Examples:
    both = part.take(np.r_[np.arange(len(part)), np.arange(len(part))])
    return replace(both, keys=np.arange(len(both)).astype(str).astype(object))


def renumbered(part: Examples) -> Examples:
    """A code more in the middle, and all after it one on."""
    return changed(part, SCHOOLING, lambda codes: np.where((codes >= 16) & (codes < 24), codes + 1, codes))


def renumbered_late(part: Examples) -> Examples:
    late = part.slices["year"] >= "2017"
    return replace(part, numbers=np.where(late[:, None], renumbered(part).numbers, part.numbers))


def sexes_swapped(part: Examples) -> Examples:
    return changed(part, SEX, lambda codes: 3 - codes)


def sexes_swapped_late(part: Examples) -> Examples:
    late = part.slices["year"] == "2018"
    return replace(part, numbers=np.where(late[:, None], sexes_swapped(part).numbers, part.numbers))


def test_the_survey_as_it_is_passes_every_gate(survey: Split) -> None:
    assert failed(checks_of(survey)) == {}


@pytest.mark.parametrize(
    ("training", "evaluation", "gate", "place"),
    [
        pytest.param(shuffled, None, "auc", "all rows", id="shuffled labels"),
        pytest.param(decades, None, "population", "AGEP, training to evaluation", id="units of training"),
        pytest.param(None, decades, "population", "AGEP, training to evaluation", id="units of evaluation"),
        pytest.param(decades, decades, "span", "AGEP, training", id="units of everything"),
        pytest.param(adults, None, "population", "AGEP, training to evaluation", id="nobody under 25"),
        pytest.param(adults, None, "coverage", "age=under 16", id="a slice dropped"),
        pytest.param(without_a_race, None, "population", "RAC1P, training to evaluation", id="a race dropped"),
        pytest.param(leaked, None, "leakage", "DEAR", id="a leaked label"),
        pytest.param(leaked, leaked, "leakage", "DEAR", id="a label leaked everywhere"),
        pytest.param(twice, None, "duplicates", "training", id="rows twice"),
        pytest.param(renumbered, None, "population", "SCHL, training to evaluation", id="codes of training"),
        pytest.param(None, renumbered_late, "population_over_time", "SCHL, 2016 to 2017", id="codes from 2017 on"),
        pytest.param(None, sexes_swapped, "association", "MIL and SEX, training to evaluation", id="codes swapped"),
        pytest.param(None, sexes_swapped_late, "association", "MIL and SEX, 2017 to 2018", id="in one year"),
    ],
)
def test_spoilt_records_are_stopped_by_the_gate_that_is_named_for_it(
    survey: Split, training: Part | None, evaluation: Part | None, gate: str, place: str
) -> None:
    rows = Split(
        survey.training if training is None else training(survey.training),
        survey.evaluation if evaluation is None else evaluation(survey.evaluation),
    )
    assert place in failed(checks_of(rows)).get(gate, [])
