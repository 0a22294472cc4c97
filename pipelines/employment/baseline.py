"""Baseline: what the model learnt from, by bin, so that the server can tell when traffic is no longer like it.

After `evaluate.py`, before `bundle.py`. Always: every record of the training year and the graph's answer to it are
counted exactly; importances are shares of the trees' gain and add up to 1, but for their rounding.
"""

from __future__ import annotations

import numpy as np
import onnxruntime
from lightgbm import LGBMClassifier

from pipelines.employment import meaning
from pipelines.employment.convert import run
from pipelines.employment.features import COLUMN_NAMES, Examples
from registry_client.baseline.builder import Choices
from registry_client.baseline.document import Baseline
from registry_client.baseline.reference import Batch, Naming, build_baseline
from registry_client.golden import Tensors
from registry_client.onnx_model import read_onnx

TAU = 0.1
TAU_QUICK = 1.0
"""For a run on a part of the rows, whose own error would pass for a smaller shift."""
LABEL = "employed"


def baseline(
    model_bytes: bytes,
    model: onnxruntime.InferenceSession,
    reference: Examples,
    importances: dict[str, float],
    tau: float = TAU,
) -> Baseline:
    """The baseline of the training year's records and of what the graph answers to them."""

    def answers(inputs: Tensors) -> Tensors:
        labels, probabilities = run(model, inputs["features"])
        return {"label": labels, "probabilities": probabilities}

    built = build_baseline(
        read_onnx(model_bytes).signature,
        [Batch({"features": reference.matrix}, labels=reference.labels.astype(np.float64))],
        run=answers,
        naming=Naming({"features": COLUMN_NAMES}, tuple(meaning.LABELS), LABEL),
        choices=Choices(
            tau=tau,
            categories=frozenset(column.name for column in meaning.COLUMNS if column.codes),
            importances=importances,
        ),
    )
    return built.baseline


def importances(classifier: LGBMClassifier) -> dict[str, float]:
    """By column its share of the gain of all splits, rounded to six digits."""
    gains = np.asarray(classifier.booster_.feature_importance("gain"), dtype=np.float64)
    shares = gains / gains.sum()
    return {name: round(float(share), 6) for name, share in zip(COLUMN_NAMES, shares, strict=True)}
