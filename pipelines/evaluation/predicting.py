"""Predicting: what a graph says of examples, as it would be served. Used by evaluate, register and robustness.

Always: in pieces, so that memory stays small whatever the rows; the answers do not depend on where a piece ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.definition import Classification, Regression
from pipelines.evaluation.measures import Floats, Outcomes
from pipelines.examples import Examples
from pipelines.refusal import Refusal

Tensors = Mapping[str, npt.NDArray[Any]]
Run = Callable[[dict[str, npt.NDArray[Any]]], Tensors]
"""Inputs by name -> outputs by name, as a ReferenceRun does."""
PIECE_ROWS: Final = 16_384


def outcomes(run: Run, examples: Examples, task: Classification | Regression) -> Outcomes:
    """The answers to all rows beside their labels. Raises Refusal where the outputs are none of the task's."""
    said = [_answers(answers, task) for answers in _pieces(run, examples)]
    values, classes = (np.concatenate([piece[part] for piece in said]) for part in (0, 1))
    return Outcomes(examples.labels, values, classes)


def predictions(run: Run, examples: Examples, positive: int | None) -> Floats:
    """float64[rows]: the probability of the class `positive`, or with None the number that is predicted."""
    task = Regression("") if positive is None else Classification((), positive)
    return outcomes(run, examples, task).values


def _pieces(run: Run, examples: Examples) -> Iterator[Tensors]:
    inputs = examples.inputs()
    for first in range(0, len(examples), PIECE_ROWS):
        yield run({name: rows[first : first + PIECE_ROWS] for name, rows in inputs.items()})


def _answers(answers: Tensors, task: Classification | Regression) -> tuple[Floats, Floats]:
    """Values and classes, both float64[rows], of one piece."""
    if isinstance(task, Classification):
        said = _output(answers, "label", "probabilities")
        return said["probabilities"][:, task.positive].astype(np.float64), said["label"].astype(np.float64)
    (value,) = _output(answers, "prediction").values()
    flat = value.reshape(len(value)).astype(np.float64)
    return flat, flat


def _output(answers: Tensors, *names: str) -> Tensors:
    if not set(names) <= set(answers):
        raise Refusal(
            "model.onnx", expected=f"outputs {', '.join(names)}", got=", ".join(sorted(answers)) or "none",
            hint="Run the train stage again.",
        )  # fmt: skip
    return {name: answers[name] for name in names}
