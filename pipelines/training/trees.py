"""Trees: gradient-boosted ones of LightGBM, for classes and for quantities.

Made by `stages/train.py`, with a column for each feature and NaN where one is missing. Always: the same matrix, labels
and parameters give the same text, however many threads there are; its thresholds are float32, as its inputs are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar, Final

import lightgbm
import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from pipelines.definition import Classification
from pipelines.features.declaration import FeatureSet
from pipelines.parameters import Trees
from pipelines.training.conversion import LABEL, OPSET, PREDICTION, PROBABILITIES, ROWS, body_of
from pipelines.training.learner import Floats, Say, Task

TREES_PER_WORD: Final = 10
SHARE_DIGITS: Final = 6
_TREE: Final = re.compile(r"^Tree=\d+$", re.MULTILINE)
_THRESHOLDS: Final = re.compile(r"^threshold=(.*)$", re.MULTILINE)
_SIZES: Final = re.compile(r"^tree_sizes=(.*)$", re.MULTILINE)
_END: Final = "end of trees"


@dataclass(frozen=True)
class FittedTrees:
    """text: LightGBM's own form of the model. losses: log loss, or mean squared error, by tree."""

    task: Task
    text: str
    losses: tuple[float, ...]
    source_name: ClassVar[str] = "source.txt"

    @cached_property
    def booster(self) -> lightgbm.Booster:
        """Read from the text, so that what is converted and compared is what lies in the file."""
        return lightgbm.Booster(model_str=self.text)

    @property
    def sums(self) -> int:
        """As `Learner.sums`: a leaf of each tree."""
        return int(self.booster.num_trees())

    def predict(self, matrix: Floats) -> npt.NDArray[np.float64]:
        """As `Learner.predict`."""
        answers = np.asarray(self.booster.predict(matrix, num_threads=1), dtype=np.float64)
        # Of two classes LightGBM tells the second one's alone.
        of_two = isinstance(self.task, Classification) and answers.ndim == 1
        return np.column_stack([1 - answers, answers]) if of_two else answers

    def source(self) -> bytes:
        """LightGBM's text."""
        return self.text.encode()

    def body(self) -> onnx.ModelProto:
        """One node of all trees; of the converter's graph nothing else is kept."""
        width = self.booster.num_feature()
        converted = convert_lightgbm(
            self.booster, name="trees", initial_types=[(ROWS, FloatTensorType([None, width]))], zipmap=False,
            target_opset=OPSET,
        )  # fmt: skip
        kinds = [node.op_type for node in converted.graph.node]
        ensemble = next(node for node in converted.graph.node if node.op_type.startswith("TreeEnsemble"))
        # What else it writes renames an output, or multiplies it by one; anything more would be lost here.
        assert set(kinds) <= {ensemble.op_type, "Identity", "Cast", "Mul"} and kinds.count(ensemble.op_type) == 1, kinds
        ensemble.name, ensemble.input[:] = "trees", [ROWS]
        if isinstance(self.task, Classification):
            ensemble.output[:] = [LABEL, PROBABILITIES]
            return body_of(self.task, width, [ensemble])
        ensemble.output[:] = ["prediction_column"]
        axis = helper.make_tensor("prediction_axis", onnx.TensorProto.INT64, [1], [1])
        squeeze = helper.make_node("Squeeze", ["prediction_column", "prediction_axis"], [PREDICTION], name=PREDICTION)
        return body_of(self.task, width, [ensemble, squeeze], [axis])

    def importances(self, features: FeatureSet, owners: npt.NDArray[np.int64]) -> dict[str, float]:
        """By feature the share of all gain; zeros where no tree has found a split."""
        gains = np.asarray(self.booster.feature_importance("gain"), dtype=np.float64)
        by_feature = np.bincount(owners, weights=gains, minlength=len(features.names))
        shares = by_feature / (by_feature.sum() or 1.0)
        return {name: round(float(share), SHARE_DIGITS) for name, share in zip(features.names, shares, strict=True)}


def fit_trees(
    matrix: Floats, labels: npt.NDArray[np.float64], task: Task, parameters: Trees, seed: int, say: Say
) -> FittedTrees:
    """matrix: float32[n, width], NaN where missing. labels: float64[n], finite; classes 0.0, 1.0, ..., all there."""
    losses: dict[str, dict[str, list[float]]] = {}
    examples = lightgbm.Dataset(matrix, labels, params={"verbosity": -1})
    booster = lightgbm.train(
        _lightgbm_parameters(task, parameters, seed), examples, num_boost_round=parameters.count,
        valid_sets=[examples], valid_names=["training"],
        callbacks=[lightgbm.record_evaluation(losses), _telling(say)],
    )  # fmt: skip
    (curve,) = losses["training"].values()
    return FittedTrees(task, float32_thresholds(booster.model_to_string()), tuple(curve))


def _lightgbm_parameters(task: Task, parameters: Trees, seed: int) -> dict[str, Any]:
    """Of a quantity the squared error is learnt from, although the absolute one is judged.

    Flights, October to December after nine months: absolute error as a share of always saying the median 0.485, mean
    residual -0.1 minutes. With regression_l1 0.480 and -2.2, since medians of a skewed label lie below its means; with
    huber, whose alpha is in minutes, 0.920.
    """
    chosen: dict[str, Any] = {"objective": "regression", "metric": "l2"}
    if isinstance(task, Classification):
        chosen = {"objective": "binary", "metric": "binary_logloss"}
        if len(task.labels) > 2:
            chosen = {"objective": "multiclass", "metric": "multi_logloss", "num_class": len(task.labels)}
    return chosen | {
        "num_leaves": parameters.leaves,
        "learning_rate": parameters.learning_rate,
        "min_data_in_leaf": parameters.leaf_examples_min,
        "seed": seed,
        # One thread: with several, sums are added in another order and trees differ in the last digits.
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _telling(say: Say) -> Callable[[Any], None]:
    def tell(state: Any) -> None:
        grown = state.iteration + 1
        if grown % TREES_PER_WORD == 0:
            say(f"{grown} of {state.end_iteration} trees")

    return tell


def float32_thresholds(text: str) -> str:
    """LightGBM's text with each threshold the greatest float32 that is not above it.

    That decides alike for every float32. The graph has float32 alone, and rounding to the nearest would let a value
    just above a threshold pass: a lagged mean has neighbours as close as that.
    """
    head, *trees = _blocks(text)
    trees[-1], tail = trees[-1].split(_END, 1)
    trees = [_THRESHOLDS.sub(lambda found: "threshold=" + _rounded_down(found[1]), tree) for tree in trees]
    sizes = " ".join(str(len(tree)) for tree in trees)
    return _SIZES.sub(f"tree_sizes={sizes}", head) + "".join(trees) + _END + tail


def _blocks(text: str) -> list[str]:
    """The head, then each tree from its line `Tree=n` on; the last one with all that follows."""
    starts = [0, *(found.start() for found in _TREE.finditer(text)), len(text)]
    return [text[first:last] for first, last in pairwise(starts)]


def _rounded_down(thresholds: str) -> str:
    exact = np.array(thresholds.split(), dtype=np.float64)
    with np.errstate(over="ignore"):  # beyond all float32 is infinity, and the next one down is the greatest
        nearest = exact.astype(np.float32)
    down = np.where(nearest > exact, np.nextafter(nearest, np.float32(-np.inf)), nearest)
    return " ".join(repr(float(value)) for value in down)
