"""Inherited population: what a stable version learnt from, against what another one did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluation.gates import Check
from pipelines.evaluation.inherited_population import GATE
from pipelines.evaluation.inherited_population import shifts as shifts_from
from pipelines.examples import NUMBERS, Examples
from registry_client.baseline.document import Baseline, Feature, Kind
from registry_client.baseline.reference import Batch, Naming, build_baseline
from registry_client.tensors import Datatype, Signature, TensorSpec

NAMES = ("age", "code")
ROWS = 4000
SIGNATURE = Signature((TensorSpec(NUMBERS, Datatype.FP32, (-1, 2)),), (TensorSpec("said", Datatype.FP32, (-1, 1)),))


def people(seed: int, rows: int = ROWS) -> Examples:
    random = np.random.default_rng(seed)
    numbers = np.stack([random.uniform(18, 95, rows), random.integers(0, 4, rows)], axis=1).astype(np.float32)
    labels = random.integers(0, 2, rows).astype(float)
    keys = np.array([str(row) for row in range(rows)], dtype=object)
    return Examples(numbers, None, labels, {}, keys, np.zeros(rows, np.int64))


def learnt_from(examples: Examples) -> Baseline:
    naming = Naming({NUMBERS: NAMES}, label="works")
    return build_baseline(
        SIGNATURE, [Batch(examples.inputs(), examples.labels)], run=None, naming=naming
    ).baseline


def shifts(examples: Examples, bound: float = 0.25) -> dict[str, Check]:
    found = shifts_from(learnt_from(people(1)), examples, bound)
    assert {one.gate for one in found} == {GATE}
    return {one.on: one for one in found}


def with_column(examples: Examples, column: int, values: np.ndarray) -> Examples:
    numbers = examples.numbers.copy()
    numbers[:, column] = values
    return replace(examples, numbers=numbers)


def test_other_people_of_the_same_kind_pass_and_every_column_and_the_label_is_looked_at() -> None:
    found = shifts(people(2))
    assert set(found) == {*NAMES, "works"}
    assert all(one.passed and one.measured == 0 for one in found.values())


@pytest.mark.parametrize(("column", "name"), [(0, "age"), (1, "code")])
def test_a_column_that_means_something_else_now_fails_alone_and_by_name(column: int, name: str) -> None:
    examples = people(2)
    values = examples.numbers[:, column]
    changed = values // 10 if name == "age" else np.where(values == 0, 1, values)
    found = shifts(with_column(examples, column, changed))
    assert [one.on for one in found.values() if not one.passed] == [name]


def test_labels_that_turned_round_fail() -> None:
    rare = replace(people(2), labels=(np.arange(ROWS) % 10 == 0).astype(float))
    assert [name for name, one in shifts(rare).items() if not one.passed] == ["works"]


def test_values_that_went_missing_or_beyond_all_bins_are_counted_as_such() -> None:
    gone = np.where(np.arange(ROWS) % 2 == 0, np.nan, 50.0)
    assert not shifts(with_column(people(2), 0, gone))["age"].passed
    assert not shifts(with_column(people(2), 0, np.full(ROWS, np.inf)))["age"].passed


def test_the_bound_decides() -> None:
    changed = with_column(people(2), 0, np.clip(people(2).numbers[:, 0], 30, None))
    measured = shifts(changed)["age"].measured
    assert shifts(changed, measured * 1.01)["age"].passed
    assert not shifts(changed, measured * 0.99)["age"].passed


def test_a_handful_of_rows_is_not_called_another_population() -> None:
    assert all(one.passed for one in shifts(people(3, rows=40)).values())


def test_nor_is_a_stable_version_that_learnt_from_a_handful() -> None:
    random, codes = np.random.default_rng(5), 20
    few = np.bincount(random.integers(0, codes, 40), minlength=codes).tolist()
    feature = Feature("code", NUMBERS, 1, Kind.CATEGORY, tuple(map(float, range(codes))), (*few, 0, 0, 0))
    baseline = replace(learnt_from(people(1)), inputs=(feature,))
    ours = with_column(people(2), 1, random.integers(0, codes, ROWS))
    assert all(one.passed for one in shifts_from(baseline, ours, 0.25))


def test_what_is_no_input_of_ours_is_left_alone() -> None:
    other = Feature("old", "elsewhere", 0, Kind.NUMBER, (0.0, 1.0), (0, 5, 0, 0, 0))
    baseline = replace(learnt_from(people(1)), inputs=(other,))
    assert [one.on for one in shifts_from(baseline, people(2), 0.25)] == ["works"]
