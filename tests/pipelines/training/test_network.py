"""Network: its weights are what it says, in the label's unit, and an interrupted training is no training."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from sklearn.neural_network import MLPRegressor

from pipelines.definition import Classification, Regression
from pipelines.parameters import Network
from pipelines.refusal import Refusal
from pipelines.training.network import FittedNetwork, fit_network

TWO, THREE = Classification(("no", "yes")), Classification(("a", "b", "c"))
MINUTES = Regression("minutes")
QUICK = Network(hidden=(8, 4), epochs=3, batch_rows=32)


def silent(words: str) -> None:
    """Nobody watches."""


def rows_of(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float32[count, 3] and a quantity far from 0 that the first two columns tell."""
    random = np.random.default_rng(seed)
    matrix = random.standard_normal((count, 3)).astype(np.float32)
    return matrix, 500 + matrix[:, 0] * 100.0 + (matrix[:, 1] > 0) * 50.0


def test_a_quantity_far_from_zero_is_learnt_in_its_own_unit() -> None:
    matrix, labels = rows_of(800)
    learner = fit_network(matrix, labels, MINUTES, Network(epochs=40, learning_rate=0.01, batch_rows=32), 0, silent)
    assert np.abs(learner.predict(matrix) - labels).mean() < 0.2 * np.abs(labels - np.median(labels)).mean()
    assert learner.losses[-1] < learner.losses[0] / 5


def test_labels_that_are_all_the_same_are_answered_so() -> None:
    matrix, _ = rows_of()
    learner = fit_network(matrix, np.full(len(matrix), 7.0), MINUTES, QUICK, 0, silent)
    assert set(learner.predict(matrix)) == {7.0}


@pytest.mark.parametrize("hidden", [(), (8,), (8, 4)])
@pytest.mark.parametrize(("task", "classes"), [(TWO, 2), (THREE, 3)])
def test_classes_have_a_probability_each_that_add_up_to_one(
    task: Classification, classes: int, hidden: tuple[int, ...]
) -> None:
    matrix, labels = rows_of()
    ranks = np.digitize(labels, np.quantile(labels, np.linspace(0, 1, classes + 1)[1:-1])).astype(float)
    learner = fit_network(matrix, ranks, task, QUICK.model_copy(update={"hidden": hidden}), 0, silent)
    assert learner.predict(matrix).shape == (len(matrix), classes)
    np.testing.assert_allclose(learner.predict(matrix).sum(axis=1), 1, atol=1e-6)
    operators = [node.op_type for node in learner.body().graph.node]
    assert operators == [*["Gemm", "Relu"] * len(hidden), "Gemm", "Softmax", "ArgMax"]


def test_what_undoes_the_scaling_takes_no_node_of_its_own() -> None:
    matrix, labels = rows_of()
    learner = fit_network(matrix, labels, MINUTES, Network(hidden=(8,), epochs=1), 0, silent)
    assert [node.op_type for node in learner.body().graph.node] == ["Gemm", "Relu", "Gemm", "Squeeze"]


def test_the_source_file_alone_tells_what_is_predicted() -> None:
    matrix, labels = rows_of()
    learner = fit_network(matrix, labels, MINUTES, QUICK, 0, silent)
    layers = np.load(io.BytesIO(learner.source()))
    units = matrix
    for index in range(2):
        units = np.maximum(units @ layers[f"weights_{index}"] + layers[f"biases_{index}"], 0)
    answers = (units @ layers["weights_2"] + layers["biases_2"])[:, 0] * layers["spread"] + layers["mean"]
    np.testing.assert_allclose(answers, learner.predict(matrix), rtol=1e-5)
    assert {layers[name].dtype.name for name in layers if name[:3] in ("wei", "bia")} == {"float32"}


def test_a_parameter_or_a_seed_changes_the_weights_and_nothing_else_does() -> None:
    matrix, labels = rows_of()

    def source(seed: int = 1, **change: Any) -> bytes:
        return fit_network(matrix, labels, MINUTES, QUICK.model_copy(update=change), seed, silent).source()

    assert source() == source()
    assert source(2) != source()
    for change in (
        {"epochs": 4}, {"hidden": (8,)}, {"learning_rate": 0.01}, {"batch_rows": 64}, {"weight_decay": 0.1},
    ):  # fmt: skip
        assert source(**change) != source()


def test_every_epoch_is_told_with_a_loss_of_its_own() -> None:
    told: list[str] = []
    matrix, labels = rows_of()
    learner = fit_network(matrix, labels, MINUTES, QUICK, 3, told.append)
    assert [words.split(",")[0] for words in told] == ["1 of 3 epochs", "2 of 3 epochs", "3 of 3 epochs"]
    assert len(set(learner.losses)) == 3


def test_steps_shrink_evenly_to_the_last_epoch_s(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[float] = []
    taken = MLPRegressor.partial_fit

    def noted(estimator: Any, *args: Any, **more: Any) -> Any:
        optimizer = getattr(estimator, "_optimizer", None)
        steps.append(estimator.learning_rate_init if optimizer is None else optimizer.learning_rate_init)
        return taken(estimator, *args, **more)

    monkeypatch.setattr(MLPRegressor, "partial_fit", noted)
    matrix, labels = rows_of()
    fit_network(matrix, labels, MINUTES, QUICK.model_copy(update={"epochs": 4, "learning_rate": 0.01}), 0, silent)
    assert steps == pytest.approx([0.01, 0.0075, 0.005, 0.0025])


def test_trained_with_another_seed_it_answers_alike() -> None:
    matrix, labels = rows_of(2000)
    chosen = Network(hidden=(8,), epochs=30, batch_rows=64, learning_rate=0.02)
    one, other = (fit_network(matrix, labels, MINUTES, chosen, seed, silent).predict(matrix) for seed in (1, 2))
    # With steps that stay as large as they were at first: about one minute, of a spread of a hundred.
    assert abs(float((one - other).mean())) < 0.3


def test_ctrl_c_ends_the_training_and_leaves_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    matrix, labels = rows_of()
    monkeypatch.setattr(MLPRegressor, "_backprop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_network(matrix, labels, MINUTES, QUICK, 0, silent)


def test_weights_that_grow_beyond_all_bounds_are_refused() -> None:
    matrix, labels = rows_of()
    huge = (matrix * np.float32(1e30)).astype(np.float32)
    with pytest.raises(Refusal, match=r"train\.network\.learning_rate: expected a step at which training settles"):
        fit_network(huge, labels, MINUTES, QUICK, 0, silent)


def test_fewer_rows_than_a_batch_are_one_batch(recwarn: pytest.WarningsRecorder) -> None:
    matrix, labels = rows_of(20)
    learner = fit_network(matrix, labels, MINUTES, QUICK, 0, silent)
    assert isinstance(learner, FittedNetwork)
    assert not recwarn.list
