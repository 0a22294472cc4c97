"""Trees: float32 decides as float64 did, missing values go the same way, and gains belong to features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxmltools import convert_lightgbm

from pipelines.definition import Classification, Regression
from pipelines.examples import Examples
from pipelines.features.declaration import FeatureSet
from pipelines.features.matrix import fit_encoder
from pipelines.parameters import Trees
from pipelines.training import trees
from pipelines.training.conversion import to_onnx
from pipelines.training.parity import check_parity
from pipelines.training.trees import FittedTrees, fit_trees, float32_thresholds

TWO = Classification(("no", "yes"))
MINUTES = Regression("minutes")
QUICK = Trees(count=10, leaves=8, leaf_examples_min=5)


def silent(words: str) -> None:
    """Nobody watches."""


def rows_of(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32[count, 3] and a quantity that the first two columns tell."""
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((count, 3)).astype(np.float32)
    return matrix, matrix[:, 0] * 10.0 + (matrix[:, 1] > 0) * 5.0


@given(st.floats(allow_nan=False, allow_infinity=False, width=64), st.integers(-3, 3))
def test_a_rounded_threshold_decides_alike_for_every_float32(threshold: float, steps: int) -> None:
    rounded = float(trees._rounded_down(repr(threshold)))
    with np.errstate(over="ignore"):
        value = np.float32(threshold)
        for _ in range(abs(steps)):
            value = np.nextafter(value, np.float32(np.copysign(np.inf, steps)))
    assert (float(value) <= rounded) == (float(value) <= threshold)
    assert np.float32(rounded) == rounded


def test_a_text_with_rounded_thresholds_is_read_and_answers_as_before() -> None:
    matrix, labels = rows_of(500)
    booster = lightgbm.train({"verbosity": -1, "num_threads": 1}, lightgbm.Dataset(matrix, labels), 12)
    text = booster.model_to_string()
    rounded = float32_thresholds(text)
    assert rounded != text
    again = lightgbm.Booster(model_str=rounded)
    assert again.num_trees() == 12
    hostile = np.vstack([matrix, np.full((1, 3), np.nan), np.full((1, 3), np.inf), np.zeros((1, 3))]).astype(np.float32)
    np.testing.assert_array_equal(again.predict(hostile), booster.predict(hostile))


def test_neighbouring_float32_on_both_sides_of_a_split_go_their_own_ways() -> None:
    """Between two neighbours every threshold of float64 rounds to one of them: to the upper one half of the time."""
    lower = np.linspace(1, 2, 200, dtype=np.float32)
    upper = np.nextafter(lower, np.float32(9))
    matrix = np.repeat(np.concatenate([lower, upper]), 10).reshape(-1, 1)
    labels = np.repeat([0.0, 1.0], 2000)
    learner = fit_trees(matrix, labels, TWO, Trees(count=30, leaves=200, leaf_examples_min=1), 0, silent)
    thresholds = np.array([float(value) for line in trees._THRESHOLDS.findall(learner.text) for value in line.split()])
    assert np.isin(thresholds.astype(np.float32), np.concatenate([lower, upper])).any()
    assert (thresholds == thresholds.astype(np.float32)).all()


@pytest.mark.parametrize("task", ["two", "three", "minutes"])
def test_values_missing_that_training_never_missed_are_answered_alike(
    task: str, examples_of: Callable[..., Examples], features: FeatureSet, tasks: dict[str, Any]
) -> None:
    training, others = examples_of(task, missing=False), examples_of(task, seed=1, missing=True)
    assert np.isnan(others.numbers).any()
    assert not np.isnan(training.numbers).any()
    encoder = fit_encoder(features, "ordinal", training.inputs())
    learner = fit_trees(encoder.encode(training.inputs()), training.labels, tasks[task], QUICK, 0, silent)
    assert check_parity(learner, encoder, to_onnx(learner, encoder), others, silent).rows == len(others)


def test_gain_goes_to_the_feature_that_owns_the_columns() -> None:
    matrix, labels = rows_of(500)
    learner = fit_trees(matrix, labels, MINUTES, QUICK, 0, silent)
    named = FeatureSet(tuple(_number(name) for name in ("both", "noise")))
    shares = learner.importances(named, np.array([0, 0, 1]))
    assert list(shares) == ["both", "noise"]
    assert shares["both"] > 0.99
    assert sum(shares.values()) == pytest.approx(1, abs=1e-6)


def _number(name: str) -> Any:
    from pipelines.features.declaration import Number

    return Number(name, name, -9, 9)


def test_features_that_tell_nothing_give_trees_that_say_so() -> None:
    matrix, labels = np.zeros((100, 3), dtype=np.float32), np.repeat([0.0, 1.0], 50)
    learner = fit_trees(matrix, labels, TWO, QUICK, 0, silent)
    np.testing.assert_allclose(learner.predict(matrix), 0.5)
    named = FeatureSet(tuple(_number(name) for name in "abc"))
    assert set(learner.importances(named, np.arange(3)).values()) == {0.0}
    assert learner.body().graph.node[0].op_type == "TreeEnsembleClassifier"


def test_progress_is_told_and_losses_fall() -> None:
    told: list[str] = []
    matrix, labels = rows_of(300)
    learner = fit_trees(matrix, labels, MINUTES, Trees(count=25, leaf_examples_min=5), 0, told.append)
    assert told == ["10 of 25 trees", "20 of 25 trees"]
    assert len(learner.losses) == 25
    assert learner.losses[-1] < learner.losses[0] / 5


def test_probabilities_of_two_classes_are_given_for_both() -> None:
    matrix, labels = rows_of(300)
    learner = fit_trees(matrix, (labels > 0).astype(float), TWO, QUICK, 0, silent)
    assert learner.predict(matrix).shape == (300, 2)
    np.testing.assert_allclose(learner.predict(matrix).sum(axis=1), 1)


def test_all_trees_are_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, labels = rows_of(300)
    learner = fit_trees(matrix, (labels > 0).astype(float), TWO, QUICK, 0, silent)
    body = learner.body()
    assert [node.op_type for node in body.graph.node] == ["TreeEnsembleClassifier"]
    monkeypatch.setattr(trees, "convert_lightgbm", _with_operator_sets_reversed)
    assert learner.body().SerializeToString(deterministic=True) == body.SerializeToString(deterministic=True)


def _with_operator_sets_reversed(*args: Any, **options: Any) -> Any:
    """They come out of a set, in another order in one process of four."""
    model = convert_lightgbm(*args, **options)
    sets = list(model.opset_import)
    assert len(sets) > 1
    model.ClearField("opset_import")
    model.opset_import.extend(reversed(sets))
    return model


def test_a_converter_that_adds_a_node_of_its_own_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_node_more(*args: Any, **options: Any) -> Any:
        model = convert_lightgbm(*args, **options)
        model.graph.node.add(op_type="Exp", input=["variable"], output=["more"])
        return model

    matrix, labels = rows_of(300)
    learner = fit_trees(matrix, labels, MINUTES, QUICK, 0, silent)
    monkeypatch.setattr(trees, "convert_lightgbm", with_a_node_more)
    with pytest.raises(AssertionError, match="Exp"):
        learner.body()


def test_a_parameter_changes_the_trees_and_nothing_else_does() -> None:
    matrix, labels = rows_of(400)

    def fitted(parameters: Trees) -> FittedTrees:
        return fit_trees(matrix, labels, MINUTES, parameters, 1, silent)

    assert fitted(QUICK).source() == fitted(QUICK).source()
    for change in ({"count": 11}, {"leaves": 7}, {"learning_rate": 0.2}, {"leaf_examples_min": 9}):
        assert fitted(QUICK.model_copy(update=change)).source() != fitted(QUICK).source()
