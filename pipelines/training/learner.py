"""Learner: what training gives, whatever has learnt: the stage, the conversion and the parity check know no more.

`trees.py` and `network.py` make one each. Always: `predict` is the source model itself, which the graph is held to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnx

from pipelines.definition import Classification, Regression
from pipelines.features.declaration import FeatureSet

Task = Classification | Regression
Floats = npt.NDArray[np.float32]
Say = Callable[[str], None]


class Learner(Protocol):
    """What has learnt. What it gives depends on what it was given alone: the same bytes, the same answers."""

    @property
    def task(self) -> Task:
        """What it answers."""

    @property
    def losses(self) -> tuple[float, ...]:
        """On the training rows, tree by tree or epoch by epoch."""

    @property
    def sums(self) -> int:
        """How many numbers are added up for an answer, at most: what rounding grows with."""

    @property
    def source_name(self) -> str:
        """Of the file that `source` is."""

    def source(self) -> bytes:
        """The model itself, for whoever explains it."""

    def predict(self, matrix: Floats) -> npt.NDArray[np.float64]:
        """Of float32[n, width]: probabilities float64[n, classes], or predictions float64[n]."""

    def body(self) -> onnx.ModelProto:
        """The model as a graph of encoded rows: see `conversion.body_of`."""

    def importances(self, features: FeatureSet, owners: npt.NDArray[np.int64]) -> dict[str, float] | None:
        """By feature its share of what was gained; None where the learner has no such figure."""
