"""Golden examples: rows spread over the evaluation's, with what the graph answers, to be asked again before serving.

Used by the bundle stage. Always: one example of a row alone and one of several, of real rows; where the graph answers
with something that is no number there is no golden example, but a refusal.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipelines.examples import Examples
from pipelines.refusal import Refusal
from registry_client.golden import Golden, Run, Tensors, make_golden
from registry_client.tensors import Signature

GOLDEN_ROW_COUNTS: Final = (1, 7)
"""One row alone and some in a batch: a runtime may take another path for one."""


def golden_examples(signature: Signature, run: Run, evaluation: Examples) -> Golden:
    """What `run`, the graph as served, answers to rows spread evenly over `evaluation`. Raises Refusal."""
    if len(evaluation) < sum(GOLDEN_ROW_COUNTS):
        raise Refusal(
            "golden examples", expected=f"at least {sum(GOLDEN_ROW_COUNTS)} rows to choose from",
            got=f"{len(evaluation)}", hint="Give evaluation more rows: --set snapshot.rows_max=null.",
        )  # fmt: skip
    rows = np.linspace(0, len(evaluation) - 1, sum(GOLDEN_ROW_COUNTS)).astype(np.int64)
    examples: list[tuple[Tensors, Tensors]] = []
    for chosen in np.split(rows, np.cumsum(GOLDEN_ROW_COUNTS)[:-1]):
        inputs = evaluation.take(chosen).inputs()
        answers = run(inputs)
        _check_finite(answers)
        examples.append((inputs, answers))
    return make_golden(signature, examples)


def _check_finite(answers: Tensors) -> None:
    for name, array in answers.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Refusal(
                f"output {name}", expected="finite numbers for every golden example",
                got=f"{array[~np.isfinite(array)][0]}",
                hint="Find the row that breaks the graph: the evaluation's gate on extreme values names its kind.",
            )  # fmt: skip
