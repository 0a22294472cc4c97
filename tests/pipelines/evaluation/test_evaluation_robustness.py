"""Robustness: values gone missing, values that nobody should send, and graphs that cannot take them."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.definition import Classification, Regression
from pipelines.evaluation.measures import Judge
from pipelines.evaluation.predicting import PIECE_ROWS, Run, Tensors, outcomes, predictions
from pipelines.evaluation.robustness import ALL_COLUMNS, extreme_values, extremes, missing, spread, without_values
from pipelines.features.declaration import Code, Cycle, Number, Text
from pipelines.refusal import Refusal
from registry_client.errors import UnservableModel
from tests.pipelines.evaluation.judged_rows import (
    AGE,
    DEFINITION,
    FEATURES,
    HOUR,
    classes_run,
    regression_run,
    split,
)  # fmt: skip

JUDGE = Judge(DEFINITION.task)
EVALUATION = split().evaluation


def not_finite(run: Run) -> dict[str, int]:
    return {one.case: one.not_finite for one in extremes(run, JUDGE, FEATURES, EVALUATION) if one.not_finite}


def spoiled(where: str, what: float = np.nan) -> Run:
    """A graph that answers `what` where a column is as it should not be."""

    def run(inputs: Tensors) -> Tensors:
        said = dict(classes_run(inputs))
        wrong = {
            "infinite age": np.isinf(inputs["features"][:, AGE]),
            "negative hour": inputs["features"][:, HOUR] < 0,
            "unknown line": ~np.isin(inputs["texts"][:, 0].astype(str), ["AA", "BB", "CC", ""]),
            "nothing known": np.isnan(inputs["features"]).all(axis=1),
        }[where]
        said["probabilities"] = np.where(wrong[:, None], np.float32(what), said["probabilities"])
        return said

    return run


def test_a_model_that_takes_anything_has_no_answer_that_is_no_number() -> None:
    assert not_finite(classes_run) == {}


@pytest.mark.parametrize(
    ("where", "case"),
    [("infinite age", "age"), ("negative hour", "hour"), ("unknown line", "line"), ("nothing known", ALL_COLUMNS)],
)
@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_found_and_its_column_named(where: str, case: str, what: float) -> None:
    found = not_finite(spoiled(where, what))
    assert found[case] > 0
    assert set(found) <= {case, ALL_COLUMNS}


def test_a_graph_that_fails_on_what_it_does_not_know_counts_as_no_answer() -> None:
    def run(inputs: Tensors) -> Tensors:
        if not np.isfinite(inputs["features"]).all():
            raise UnservableModel("model", expected="a run on these inputs", got="an error", hint="Export it anew.")
        return classes_run(inputs)

    assert set(not_finite(run)) == {"age", "sex", "job", "hour", ALL_COLUMNS}


def test_a_tenth_of_the_values_goes_missing_and_the_same_tenth_again_for_one_seed() -> None:
    poorer = without_values(EVALUATION, 0.1, seed=3)
    assert np.isnan(poorer.numbers).mean() == pytest.approx(0.1, abs=0.01)
    assert poorer.texts is not None
    assert (poorer.texts == "").mean() == pytest.approx(0.1, abs=0.02)
    assert np.array_equal(poorer.numbers, without_values(EVALUATION, 0.1, seed=3).numbers, equal_nan=True)
    assert not np.array_equal(poorer.numbers, without_values(EVALUATION, 0.1, seed=4).numbers, equal_nan=True)
    assert not np.isnan(EVALUATION.numbers).any()


def test_missing_values_cost_something_and_a_model_that_takes_them_for_zero_more() -> None:
    def as_zero(inputs: Tensors) -> Tensors:
        zeros = np.nan_to_num(inputs["features"])
        return classes_run({**inputs, "features": zeros})

    whole = outcomes(classes_run, EVALUATION, DEFINITION.task)
    fair, naive = (missing(run, JUDGE, EVALUATION, whole, seed=1) for run in (classes_run, as_zero))
    assert 0 < fair.drop < naive.drop
    assert fair.measure == pytest.approx(JUDGE.gate_measure(whole) - fair.drop)


def test_a_model_that_has_no_answer_where_a_value_is_missing_has_no_measure_either() -> None:
    whole = outcomes(classes_run, EVALUATION, DEFINITION.task)

    def run(inputs: Tensors) -> Tensors:
        said = classes_run(inputs)
        gone = np.isnan(inputs["features"]).any(axis=1)[:, None]
        return {**said, "probabilities": np.where(gone, np.nan, said["probabilities"])}

    found = missing(run, JUDGE, EVALUATION, whole, seed=1)
    assert np.isnan(found.drop)
    assert found.as_json()["drop"] is None


def test_a_bound_is_tried_a_thousandfold_and_a_code_beside_the_last_one() -> None:
    assert {-1000.0, 10_000.0, -10_000.0, np.inf} <= set(extreme_values(Number("n", "", -1, 10)))
    assert {0.0, 4.0, 1.5} <= set(extreme_values(Code("c", "", {1: "a", 3: "b"})))
    assert {7.0, -1.0} <= set(extreme_values(Cycle("w", "", 7.0)))
    assert {"", "no such value"} <= set(extreme_values(Text("t", "", ("a",))))


def test_rows_are_spread_from_the_first_to_the_last() -> None:
    assert spread(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert spread(101, 3).tolist() == [0, 50, 100]


def test_answers_in_pieces_are_those_of_one_piece() -> None:
    many = EVALUATION.take(np.arange(PIECE_ROWS + 7) % len(EVALUATION))
    seen: list[int] = []

    def run(inputs: Tensors) -> Tensors:
        seen.append(len(inputs["features"]))
        return classes_run(inputs)

    said = outcomes(run, many, DEFINITION.task)
    assert seen == [PIECE_ROWS, 7]
    assert np.array_equal(said.values, classes_run(many.inputs())["probabilities"][:, 1].astype(np.float64))


def test_predictions_are_the_positive_class_s_probability_or_the_number_itself() -> None:
    said = classes_run(EVALUATION.inputs())["probabilities"].astype(np.float64)
    assert np.array_equal(predictions(classes_run, EVALUATION, 0), said[:, 0])
    minutes = predictions(regression_run, EVALUATION, None)
    assert np.array_equal(minutes, regression_run(EVALUATION.inputs())["prediction"].astype(np.float64))


def test_a_column_of_predictions_is_as_good_as_a_row_of_them() -> None:
    def run(inputs: Tensors) -> Tensors:
        return {"prediction": regression_run(inputs)["prediction"][:, None]}

    assert np.array_equal(predictions(run, EVALUATION, None), predictions(regression_run, EVALUATION, None))


@pytest.mark.parametrize(
    ("task", "run", "outputs"),
    [(Regression("minutes"), classes_run, "prediction"), (Classification(("a", "b")), regression_run, "probabilities")],
)
def test_a_graph_of_another_task_is_refused_by_its_outputs(
    task: Classification | Regression, run: Run, outputs: str
) -> None:
    with pytest.raises(Refusal, match=f"expected outputs .*{outputs}.*Run the train stage again"):
        outcomes(run, EVALUATION, task)
