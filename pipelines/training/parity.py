"""Parity: the proof that the graph answers as the model that was trained. Used by `stages/train.py`.

Every evaluation row goes both ways, raw: encoded by numpy and through the learner's own library, and through the whole
graph as it is served. Always: rows further apart than rounding explains are a Refusal that names the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.definition import Classification
from pipelines.examples import Examples
from pipelines.features.matrix import Encoder
from pipelines.refusal import Refusal
from pipelines.training.conversion import LABEL, PREDICTION, PROBABILITIES
from pipelines.training.learner import Learner, Say
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun

PIECE_ROWS: Final = 16_384
PROBABILITY_ERROR_MAX: Final = 1e-6
"""float32 against float64: 2e-7 is seen with a hundred trees or a network; five times that still changes no answer."""
PREDICTION_ERROR_MAX: Final = 1e-5
"""As a share of the answer, or of the labels' standard deviation where that is more; 4e-6 is seen. What is rounded are
sums of parts as large as the labels, also where they cancel, so that a share of a small answer would say nothing."""
SUMS_FREE: Final = 500
"""So many numbers are added up within these bounds; of more, each adds its rounding. 2,000 trees: 1.3e-6 is seen."""

Floats = npt.NDArray[np.float64]
Inputs = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Parity:
    """rows: that were compared, all within `bound`. worst: the furthest apart that any was, in the bound's measure."""

    rows: int
    bound: float
    worst: float


def check_parity(learner: Learner, encoder: Encoder, model_bytes: bytes, examples: Examples, say: Say) -> Parity:
    """Compare both on all of `examples`, in pieces. Raises Refusal where one row is not answered alike."""
    run = ReferenceRun(model_bytes, read_onnx(model_bytes).signature)
    differences = _of_classes if isinstance(learner.task, Classification) else _of_quantities(_spread(examples))
    bound = _bound(learner)
    inputs, worst = examples.inputs(), 0.0
    for first in range(0, len(examples), PIECE_ROWS):
        say(f"parity: {first:,} of {len(examples):,} rows")
        piece = {name: values[first : first + PIECE_ROWS] for name, values in inputs.items()}
        expected, answers = learner.predict(encoder.encode(piece)), run(piece)
        errors = differences(expected, answers, bound)
        # Not `errors > bound`: an answer that is no number is no answer.
        apart = np.flatnonzero(~(errors <= bound))
        if apart.size:
            raise _refusal(examples, first + int(apart[0]), expected[apart[0]], _answer(answers, int(apart[0])), bound)
        worst = max(worst, float(errors.max()))
    return Parity(len(examples), bound, worst)


def _bound(learner: Learner) -> float:
    bound = PROBABILITY_ERROR_MAX if isinstance(learner.task, Classification) else PREDICTION_ERROR_MAX
    return bound * max(1.0, learner.sums / SUMS_FREE)


def _of_classes(expected: Floats, answers: Inputs, bound: float) -> Floats:
    """float64[rows]: the furthest apart of a row's probabilities; infinite where the label is another."""
    errors: Floats = np.abs(answers[PROBABILITIES] - expected).max(axis=1)
    chosen = np.take_along_axis(expected, answers[LABEL][:, np.newaxis], axis=1)[:, 0]
    # Where two classes are equally likely to the last digit, rounding may choose either.
    return np.where(expected.max(axis=1) - chosen <= 2 * bound, errors, np.inf)


def _of_quantities(spread: float) -> Callable[[Floats, Inputs, float], Floats]:
    """float64[rows]: how far apart, as a share of the answer or of the spread."""

    def differences(expected: Floats, answers: Inputs, bound: float) -> Floats:
        shares: Floats = np.abs(answers[PREDICTION] - expected) / np.maximum(np.abs(expected), spread)
        return shares

    return differences


def _spread(examples: Examples) -> float:
    return float(examples.labels.std()) or 1.0


def _answer(answers: Inputs, row: int) -> str:
    return ", ".join(f"{name} {np.asarray(values[row]).tolist()}" for name, values in answers.items())


def _refusal(examples: Examples, row: int, expected: npt.NDArray[Any], got: str, bound: float) -> Refusal:
    return Refusal(
        f"model.onnx, evaluation row {row} ({examples.keys[row]})",
        expected=f"the trained model's answer {np.asarray(expected).tolist()}, within {bound:g}", got=got[:300],
        hint="The converter's or the runtime's version is not the locked one: make setup, then run the stage again.",
    )  # fmt: skip
