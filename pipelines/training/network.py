"""Network: scikit-learn's multi-layer perceptron, for classes and for quantities.

Made by `stages/train.py`, from scaled numbers and a column for each code. A quantity is learnt in standard deviations
from its mean; what undoes that is folded into the graph's last layer. Always: the same matrix, labels and parameters
give the same weights, float32, however many threads there are.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits

from pipelines.definition import Classification
from pipelines.features.declaration import FeatureSet
from pipelines.parameters import Network
from pipelines.refusal import Refusal
from pipelines.training.conversion import LABEL, PREDICTION, PROBABILITIES, ROWS, body_of
from pipelines.training.learner import Floats, Say, Task


@dataclass(frozen=True)
class FittedNetwork:
    """estimator: scikit-learn's, of float32. mean, spread: of a quantity's labels; 0 and 1 for classes.

    losses: by epoch; log loss, or half the squared error in standard deviations, and what weights cost.
    """

    task: Task
    estimator: MLPClassifier | MLPRegressor
    mean: float
    spread: float
    losses: tuple[float, ...]
    source_name: ClassVar[str] = "source.npz"

    @property
    def sums(self) -> int:
        """As `Learner.sums`: the widest layer's inputs."""
        return max(len(weights) for weights in self.estimator.coefs_)

    def predict(self, matrix: Floats) -> npt.NDArray[np.float64]:
        """As `Learner.predict`."""
        with threadpool_limits(1):
            if isinstance(self.task, Classification):
                return np.asarray(self.estimator.predict_proba(matrix), dtype=np.float64)
            return np.asarray(self.estimator.predict(matrix), dtype=np.float64) * self.spread + self.mean

    def source(self) -> bytes:
        """NumPy's npz: weights_i float32[from, to] and biases_i float32[to] by layer, and `mean` and `spread`."""
        arrays: dict[str, Any] = {"mean": np.float64(self.mean), "spread": np.float64(self.spread)}
        for index, (weights, biases) in enumerate(self._layers()):
            arrays |= {f"weights_{index}": weights, f"biases_{index}": biases}
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    def body(self) -> onnx.ModelProto:
        """Gemm and Relu by layer, then Softmax over the classes' logits, or the quantity as a row's one number."""
        *hidden, (weights, biases) = self._layers()
        nodes, constants, rows = [], [], ROWS
        for index, layer in enumerate([*hidden, self._last(weights, biases)]):
            names = [f"weights_{index}", f"biases_{index}"]
            constants += [numpy_helper.from_array(values, name) for values, name in zip(layer, names, strict=True)]
            nodes.append(helper.make_node("Gemm", [rows, *names], [f"sums_{index}"], name=f"sums_{index}"))
            rows = f"sums_{index}"
            if index < len(hidden):
                nodes.append(helper.make_node("Relu", [rows], [f"units_{index}"], name=f"units_{index}"))
                rows = f"units_{index}"
        width = (hidden[0][0] if hidden else weights).shape[0]
        if isinstance(self.task, Classification):
            nodes.append(helper.make_node("Softmax", [rows], [PROBABILITIES], name=PROBABILITIES, axis=1))
            nodes.append(helper.make_node("ArgMax", [PROBABILITIES], [LABEL], name=LABEL, axis=1, keepdims=0))
        else:
            constants.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "prediction_axis"))
            nodes.append(helper.make_node("Squeeze", [rows, "prediction_axis"], [PREDICTION], name=PREDICTION))
        return body_of(self.task, width, nodes, constants)

    def importances(self, features: FeatureSet, owners: npt.NDArray[np.int64]) -> None:
        """None: weights of a network are no shares of anything."""

    def _layers(self) -> list[tuple[Floats, Floats]]:
        return [
            (np.ascontiguousarray(weights, dtype=np.float32), np.ascontiguousarray(biases, dtype=np.float32))
            for weights, biases in zip(self.estimator.coefs_, self.estimator.intercepts_, strict=True)
        ]

    def _last(self, weights: Floats, biases: Floats) -> tuple[Floats, Floats]:
        """The last layer in the label's unit; of two classes with a logit for each, of which the first is 0."""
        if isinstance(self.task, Classification):
            if weights.shape[1] > 1:
                return weights, biases
            return np.hstack([np.zeros_like(weights), weights]), np.hstack([np.zeros_like(biases), biases])
        in_unit = biases.astype(np.float64) * self.spread + self.mean
        return (weights.astype(np.float64) * self.spread).astype(np.float32), in_unit.astype(np.float32)


def fit_network(
    matrix: Floats, labels: npt.NDArray[np.float64], task: Task, parameters: Network, seed: int, say: Say
) -> FittedNetwork:
    """matrix: float32[n, width], finite. labels: float64[n], finite; classes 0.0, 1.0, ..., all there.

    Raises Refusal where weights grow beyond all bounds.
    """
    kind: type[Any] = MLPClassifier if isinstance(task, Classification) else MLPRegressor
    mean, spread, targets = 0.0, 1.0, labels.astype(np.int64)
    if not isinstance(task, Classification):
        # The squared error does well in absolute error, too, and keeps the graph a chain of sums. Flights, as a share
        # of always saying the median, over four seeds: 0.485 to 0.502; with asinh of the label 0.486 to 0.511, and
        # with labels cut at 300 minutes 0.494 to 0.525.
        mean, spread = float(labels.mean()), float(labels.std())
        targets = ((labels - mean) / (spread or 1.0)).astype(np.float32)
    estimator = kind(
        hidden_layer_sizes=parameters.hidden,
        batch_size=min(parameters.batch_rows, len(matrix)),
        learning_rate_init=parameters.learning_rate,
        alpha=parameters.weight_decay,
        # Its state goes on from epoch to epoch: a number would shuffle each of them alike.
        random_state=np.random.RandomState(seed),
    )
    losses = []
    # One thread: with several, sums are added in another order and weights differ in the last digits.
    with threadpool_limits(1):
        for epoch, loss in enumerate(_epochs(estimator, matrix, targets, parameters), 1):
            losses.append(loss)
            say(f"{epoch} of {parameters.epochs} epochs, loss {loss:.4g}")
    return FittedNetwork(task, estimator, mean, spread, tuple(losses))


def _epochs(estimator: Any, matrix: Floats, targets: npt.NDArray[Any], parameters: Network) -> Iterator[float]:
    """The loss of each, as it ends; each takes smaller steps than the one before, and the last ones next to none.

    With steps of one size, where it ends is where the last batches threw it: flights over four seeds lay 0.9 minutes
    too early to 1.0 too late, with a skill of 0.504 to 0.517; now 0.3 to 0.5 too early, with 0.513 to 0.516.
    """
    more: dict[str, Any] = {"classes": np.unique(targets)} if isinstance(estimator, MLPClassifier) else {}
    for epoch in range(parameters.epochs):
        try:
            # Sums that overflow are found below, by what they lead to.
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                # Scikit-learn takes Ctrl-C for the end of training, with a warning. It is the end of the stage.
                warnings.filterwarnings("error", message="Training interrupted by user")
                estimator.partial_fit(matrix, targets, **more)
        except UserWarning as interrupted:
            raise KeyboardInterrupt from interrupted
        except ValueError as error:
            if "non-finite" not in str(error):
                raise
            raise _diverged(str(error)) from error
        if not np.isfinite(estimator.loss_):
            raise _diverged(f"a loss of {estimator.loss_}")
        # Of its own, scikit-learn shrinks the steps of plain gradient descent only, which learns this far slower.
        estimator._optimizer.learning_rate_init = parameters.learning_rate * (1 - (epoch + 1) / parameters.epochs)
        yield float(estimator.loss_)


def _diverged(got: str) -> Refusal:
    return Refusal(
        "train.network.learning_rate", expected="a step at which training settles", got=got[:120],
        hint="Make it smaller, or batch_rows larger.",
    )  # fmt: skip
