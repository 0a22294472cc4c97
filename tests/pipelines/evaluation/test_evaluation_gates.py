"""Gates on made-up rows: each thing that goes wrong fails the gate that is named for it, and good rows pass all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluation import gates
from pipelines.evaluation.budgets import Speed
from pipelines.evaluation.gates import Check, judged, judged_speed, telling
from pipelines.evaluation.predicting import Run, Tensors
from pipelines.examples import Examples, Split
from pipelines.parameters import Gates
from pipelines.refusal import Refusal
from tests.pipelines.evaluation.judged_rows import (
    AGE,
    GATES,
    HOUR,
    JOB,
    MODEL_BYTES,
    REGRESSION,
    REGRESSION_GATES,
    SEX,
    classes_run,
    examined,
    failed,
    failed_after,
    regression_run,
    regression_split,
    split,
    with_column,
)  # fmt: skip

Spoil = Callable[[Split], Split]


def in_training(change: Callable[[Examples], Examples]) -> Spoil:
    return lambda rows: replace(rows, training=change(rows.training))


def in_evaluation(change: Callable[[Examples], Examples]) -> Spoil:
    return lambda rows: replace(rows, evaluation=change(rows.evaluation))


def everywhere(change: Callable[[Examples], Examples]) -> Spoil:
    return lambda rows: Split(change(rows.training), change(rows.evaluation))


def other_units(part: Examples) -> Examples:
    return with_column(part, AGE, part.numbers[:, AGE] / 12)


def swapped_late(part: Examples) -> Examples:
    late, sex = part.slices["year"] == "2017", part.numbers[:, SEX]
    return with_column(part, SEX, np.where(late, 3 - sex, sex))


def renumbered(part: Examples) -> Examples:
    return with_column(part, JOB, (part.numbers[:, JOB] + 1) % 3)


def shuffled(part: Examples) -> Examples:
    return replace(part, labels=np.random.default_rng(1).permutation(part.labels))


def leaked(part: Examples) -> Examples:
    return with_column(part, JOB, part.labels)


def without_males(part: Examples) -> Examples:
    return part.take(part.slices["sex"] != "male")


def twice(part: Examples) -> Examples:
    both = part.take(np.r_[np.arange(len(part)), np.arange(len(part))])
    return replace(both, keys=np.arange(len(both)).astype(str).astype(object))


def test_good_rows_and_a_good_graph_pass_every_gate() -> None:
    assert failed(judged(examined(split()), GATES)) == {}
    found = examined(regression_split(), regression_run, REGRESSION)
    assert failed(judged(found, REGRESSION_GATES)) == {}


@pytest.mark.parametrize("seed", range(1, 5))
def test_good_rows_pass_whatever_they_are_drawn_from(seed: int) -> None:
    assert failed(judged(examined(split(seed=seed)), GATES)) == {}


@pytest.mark.parametrize(
    ("spoil", "gate", "place"),
    [
        pytest.param(in_evaluation(shuffled), "auc", "all rows", id="shuffled labels"),
        pytest.param(in_evaluation(shuffled), "accuracy_gain", "2016", id="shuffled labels, by year"),
        pytest.param(in_training(shuffled), "association", "age and goes, training to evaluation", id="in training"),
        pytest.param(in_training(other_units), "population", "age, training to evaluation", id="units, training"),
        pytest.param(in_evaluation(other_units), "population", "age, training to evaluation", id="units, evaluation"),
        pytest.param(everywhere(other_units), "span", "age, training", id="units, everywhere"),
        pytest.param(in_training(without_males), "coverage", "sex=male", id="a slice dropped"),
        pytest.param(in_evaluation(without_males), "coverage", "sex=male", id="a slice dropped from evaluation"),
        pytest.param(in_training(leaked), "leakage", "job", id="a leaked label"),
        pytest.param(in_training(twice), "duplicates", "training", id="rows twice"),
        pytest.param(in_evaluation(twice), "duplicates", "2017", id="rows twice, evaluation"),
        pytest.param(lambda rows: replace(rows, training=rows.evaluation), "overlap", "evaluation, in training",
                     id="the same rows in both"),
        pytest.param(in_training(renumbered), "population", "job, training to evaluation", id="codes renumbered"),
        pytest.param(in_evaluation(renumbered), "population_over_time", "job, 2015 to 2016", id="from one year on"),
        pytest.param(in_evaluation(swapped_late), "association", "sex and job, 2016 to 2017", id="codes swapped"),
    ],
)  # fmt: skip
def test_spoilt_rows_fail_the_gate_that_is_named_for_it(spoil: Spoil, gate: str, place: str) -> None:
    assert place in failed_after(spoil)[gate]


def answering(change: Callable[[Tensors, np.ndarray], np.ndarray]) -> Run:
    """The good graph with its probability changed."""

    def run(inputs: Tensors) -> Tensors:
        said = classes_run(inputs)
        probability = change(inputs, said["probabilities"][:, 1]).astype(np.float32)
        both = np.column_stack([1 - probability, probability])
        return {"label": (probability > 0.5).astype(np.int64), "probabilities": both}

    return run


def blind_to_males(inputs: Tensors, probability: np.ndarray) -> np.ndarray:
    return np.where(inputs["features"][:, SEX] == 1, 0.5, probability)


def kinder_to_males(inputs: Tensors, probability: np.ndarray) -> np.ndarray:
    """In the same order as before, and too high."""
    return np.where(inputs["features"][:, SEX] == 1, probability**0.3, probability)


def lost_without_an_hour(inputs: Tensors, probability: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(inputs["features"]).any(axis=1), 1 - probability, probability)


def no_number_for_the_very_old(inputs: Tensors, probability: np.ndarray) -> np.ndarray:
    return np.where(inputs["features"][:, AGE] > 95, np.nan, probability)


def no_number_for_infinity(inputs: Tensors, probability: np.ndarray) -> np.ndarray:
    return np.where(np.isinf(inputs["features"][:, HOUR]), np.nan, probability)


@pytest.mark.parametrize(
    ("change", "gate", "place"),
    [
        (blind_to_males, "slice", "sex=male"),
        (kinder_to_males, "slice_bias", "sex=male"),
        (lambda _, probability: np.clip(2 * probability - 0.5, 0.01, 0.99), "calibration", "all rows"),
        (lost_without_an_hour, "missing", "10% of values missing"),
        (no_number_for_the_very_old, "finite", "all rows"),
        (no_number_for_infinity, "extremes", "hour"),
    ],
)
def test_a_graph_with_a_flaw_fails_the_gate_that_is_named_for_it(
    change: Callable[[Tensors, np.ndarray], np.ndarray], gate: str, place: str
) -> None:
    found = failed(judged(examined(split(), answering(change)), GATES))
    assert place in found[gate]


def test_a_regression_no_better_than_the_median_fails() -> None:
    def median(inputs: Tensors) -> Tensors:
        return {"prediction": np.full(len(inputs["features"]), 27.0, np.float32)}

    found = failed(judged(examined(regression_split(), median, REGRESSION), REGRESSION_GATES))
    assert {"all rows", "2016", "2017"} <= set(found["mae_share"])


def test_a_regression_that_is_always_late_fails_calibration_in_shares_of_the_spread() -> None:
    def late(inputs: Tensors) -> Tensors:
        return {"prediction": regression_run(inputs)["prediction"] + 4}

    checks = judged(examined(regression_split(), late, REGRESSION), REGRESSION_GATES)
    (found,) = [check for check in checks if check.gate == "calibration"]
    assert found.measured == pytest.approx(4 / regression_split().evaluation.labels.std(), rel=0.1)
    assert not found.passed


def test_a_year_that_is_bad_does_not_hide_behind_a_good_one() -> None:
    def one_year(part: Examples) -> Examples:
        late = part.slices["year"] == "2017"
        return replace(part, labels=np.where(late, shuffled(part).labels, part.labels))

    found = failed_after(in_evaluation(one_year), GATES.model_copy(update={"auc_min": 0.6}))
    assert found["auc"] == ["2017"]


def test_a_slice_of_few_rows_is_not_judged() -> None:
    few = GATES.model_copy(update={"slice_rows_min": 3000})
    assert not [check for check in judged(examined(split()), few) if check.gate.startswith("slice")]


def test_a_slice_of_one_class_is_judged_by_its_bias_alone() -> None:
    def only_goers(part: Examples) -> Examples:
        return replace(part, labels=np.where(part.slices["line"] == "AA", 1.0, part.labels))

    checks = judged(examined(in_evaluation(only_goers)(split())), GATES)
    assert [check.gate for check in checks if check.on == "line=AA" and "slice" in check.gate] == ["slice_bias"]


def test_slices_of_time_need_no_coverage() -> None:
    checks = judged(examined(split()), GATES)
    assert not [check for check in checks if check.gate == "coverage" and "year" in check.on]


def test_rows_whose_answer_is_no_number_fail_and_the_others_are_measured_all_the_same() -> None:
    found = examined(split(), answering(no_number_for_the_very_old))
    assert found.not_finite > 0
    assert found.whole.rows + found.not_finite == found.evaluation_rows
    assert "auc" not in failed(judged(found, GATES))


def test_a_graph_that_never_answers_with_a_number_is_refused_at_once() -> None:
    with pytest.raises(Refusal, match=r"model\.onnx: expected answers that are numbers, got none in 4000 rows"):
        examined(split(), answering(lambda _, probability: probability * np.nan))


@pytest.mark.parametrize("part", ["training", "evaluation"])
def test_a_part_without_rows_is_refused_by_name(part: str) -> None:
    rows = split()
    empty = replace(rows, **{part: getattr(rows, part).take(np.zeros(0, np.intp))})
    with pytest.raises(Refusal, match=f"{part}.parquet: expected rows, got none"):
        examined(empty)


@pytest.mark.parametrize(("parameter", "value"), [("auc_min", 0.8), ("accuracy_gain_min", 0.1)])
def test_a_floor_for_another_task_is_refused_by_name(parameter: str, value: float) -> None:
    bounds = REGRESSION_GATES.model_copy(update={parameter: value})
    with pytest.raises(Refusal, match=f"gates.{parameter}: expected nothing, for a model of this task"):
        judged(examined(regression_split(), regression_run, REGRESSION), bounds)


def test_a_floor_that_is_not_set_is_not_judged() -> None:
    names = {check.gate for check in judged(examined(split()), Gates(slice_rows_min=200))}
    assert not names & {"auc", "accuracy_gain", "mae_share"}
    assert {"slice", "coverage", "population", "association", "leakage"} <= names


def test_each_bound_is_a_parameter_that_exists_and_can_be_set_so_that_everything_passes() -> None:
    checks = judged(examined(split()), GATES) + judged_speed(Speed(1.0, 1.0, 256), GATES)
    named = {check.parameter for check in checks if check.parameter}
    assert named <= set(Gates.model_fields)
    unnamed = {check.gate for check in checks if check.parameter is None}
    assert unnamed == {"finite", "extremes"}
    unused = set(Gates.model_fields) - named - {"slice_rows_min", "mae_share_max"}
    assert not unused, "a bound that nothing is held against"


def test_a_model_that_is_too_large_or_too_slow_fails() -> None:
    small = GATES.model_copy(update={"model_bytes_max": MODEL_BYTES - 1})
    assert failed(judged(examined(split()), small)) == {"model_bytes": ["the graph"]}
    slow = Speed(row_us=1000.1, batch_row_ns=50_001.0, batch_rows=256)
    assert failed(judged_speed(slow, GATES)) == {"latency": ["one row"], "row_time": ["batches of 256"]}
    assert failed(judged_speed(Speed(1000.0, 50_000.0, 256), GATES)) == {}


@pytest.mark.parametrize(
    ("sense", "measured", "by", "passed"),
    [
        ("at least", 0.8, 0.3, True), ("at most", 0.8, -0.3, False),
        ("at least", 0.5, 0.0, True), ("at most", 0.5, 0.0, True),
    ],
)  # fmt: skip
def test_a_check_says_by_how_much(sense: gates.Sense, measured: float, by: float, passed: bool) -> None:
    check = Check("any", "auc_min", measured, sense, 0.5, "all rows", 10)
    assert (check.by, check.passed) == (pytest.approx(by), passed)


def test_a_figure_that_is_not_defined_does_not_pass_and_is_told_first() -> None:
    checks = [Check("any", None, measured, "at least", 0.5, f"{measured}", 10) for measured in (0.4, float("nan"))]
    assert [check.on for check, _ in telling(checks)] == ["nan", "0.4"]
    assert gates.as_json(checks)[0] | {"checks": 0} == {
        "name": "any", "parameter": None, "measured": None, "bound": 0.5, "sense": "at least", "passed": False,
        "by": None, "on": "nan", "rows": 10, "checks": 0,
    }  # fmt: skip


def test_of_a_gate_that_passed_the_place_closest_to_failing_is_told_with_how_many_there_were() -> None:
    checks = [Check("any", None, measured, "at least", 0.5, f"{measured}", 10) for measured in (0.9, 0.6, 0.7)]
    assert [(check.on, places) for check, places in telling(checks)] == [("0.6", 3)]


def test_of_a_gate_that_failed_all_places_that_did_are_told() -> None:
    checks = [Check("any", None, measured, "at least", 0.5, f"{measured}", 10) for measured in (0.4, 0.9, 0.1)]
    assert [(check.on, places) for check, places in telling(checks)] == [("0.1", 3), ("0.4", 3)]


def test_a_report_holds_no_more_than_the_worst_places_of_a_gate() -> None:
    checks = [Check("any", None, measured / 1000, "at least", 0.5, f"{measured}", 10) for measured in range(200)]
    told = gates.as_json(checks)
    assert len(told) == gates.PLACES_MAX
    assert (told[0]["on"], told[0]["checks"]) == ("0", 200)
