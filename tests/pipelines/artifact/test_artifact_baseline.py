"""The baseline of a pipeline's model: every row of training, by hour of the week where rows have times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifact.attribution import importance_shares
from pipelines.artifact.baseline import has_times_of_day, hours_of_week, training_baseline
from pipelines.refusal import Refusal
from registry_client.baseline.builder import DISTINCT_MAX, BaselineBuilder, Choices
from registry_client.baseline.columns import Column
from registry_client.baseline.document import Baseline, Kind
from registry_client.onnx_model import read_onnx
from registry_client.tensors import Datatype
from tests.pipelines.artifact.learnt_models import TRAINING_ROWS, Model

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)


def baseline_of(model: Model, tau: float = 1.0) -> Baseline:
    of, shares = model.work.definition, importance_shares(model.work.definition, model.explained())
    signature = read_onnx(model.model_bytes).signature
    return training_baseline(of, signature, model.run, model.split.training, shares, tau)


def test_every_row_of_training_is_counted_in_every_column_and_in_the_label(model: Model) -> None:
    made = baseline_of(model)
    names = [column.name for column in model.work.definition.features.numbers]
    assert [feature.name for feature in made.inputs] == names
    assert [feature.name for feature in made.labels] == [model.work.definition.label]
    assert {feature.rows for feature in (*made.inputs, *made.predictions, *made.labels)} == {TRAINING_ROWS}
    assert made.rank_error == 0


def test_codes_are_categories_and_quantities_are_numbers(trees: Model) -> None:
    kinds = {feature.name: feature.kind for feature in baseline_of(trees).inputs}
    assert kinds == {"AGEP": Kind.NUMBER, "SEX": Kind.CATEGORY, "DIS": Kind.CATEGORY, "NOISE": Kind.NUMBER}


def test_importances_are_shares_of_all_features_texts_too_though_texts_have_no_bins(model: Model) -> None:
    shares = importance_shares(model.work.definition, model.explained())
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert {feature.name: feature.importance for feature in baseline_of(model).inputs} == {
        column.name: shares[column.name] for column in model.work.definition.features.numbers
    }


def test_rows_are_counted_by_hour_where_they_have_times_and_only_there(trees: Model, network: Model) -> None:
    assert all(feature.by_hour is None for feature in baseline_of(trees).inputs)
    delay = baseline_of(network).inputs[0]
    assert delay.by_hour is not None
    hours = np.bincount(hours_of_week(network.split.training.at_s), minlength=168)
    assert [sum(hour) for hour in delay.by_hour] == hours.tolist()


def test_too_few_rows_for_tau_are_refused_with_what_to_set(trees: Model) -> None:
    with pytest.raises(Refusal, match=r"baseline: reference: expected at least .* for tau 0\.01.*--set bundle\.tau=1"):
        baseline_of(trees, tau=0.01)


@given(st.integers(0, 3000), st.integers(0, 23), st.integers(0, 3599))
def test_hours_of_the_week_begin_on_monday_at_midnight_utc(days: int, hour: int, seconds: int) -> None:
    at = MONDAY + timedelta(days=days, hours=hour, seconds=seconds)
    (found,) = hours_of_week(np.array([int(at.timestamp())], dtype=np.int64))
    assert found == at.weekday() * 24 + hour


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=9))
def test_days_alone_are_no_times_and_one_second_after_midnight_is(days: list[int]) -> None:
    at_s = np.array(days, dtype=np.int64) * 86_400
    assert not has_times_of_day(at_s)
    at_s[-1] += 1
    assert has_times_of_day(at_s)


def test_more_distinct_values_than_a_baseline_usually_counts_give_the_same_bytes_in_any_order() -> None:
    random = np.random.default_rng(11)
    values = random.normal(size=DISTINCT_MAX + 5_000)
    hours = np.zeros(len(values), dtype=np.int64)

    def counted(order: npt.NDArray[np.int64], *, exact: bool) -> Baseline:
        builder = BaselineBuilder((Column("x", "x", 0),), hourly=True, choices=Choices(exact=exact))
        for part in np.array_split(order, 4):
            builder.add({"x": (Datatype.FP64, values[part, None])}, hours=hours[part])
        return builder.baseline()

    straight, mixed = np.arange(len(values)), random.permutation(len(values))
    assert counted(straight, exact=True).to_bytes() == counted(mixed, exact=True).to_bytes()
    assert counted(straight, exact=True).rank_error == 0 < counted(straight, exact=False).rank_error
