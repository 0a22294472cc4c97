"""Baseline: what the model learnt from, by bin, so that a server can tell when traffic is no longer like it.

Used by the bundle stage. Always: every row of training and the graph's answer to it are counted exactly; importances
are shares that add up to 1 over all features, those of texts included, which a baseline has no bins for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.definition import Classification, Definition
from pipelines.examples import NUMBERS, Examples
from pipelines.features.declaration import Code
from pipelines.refusal import Refusal
from registry_client.baseline.builder import Choices
from registry_client.baseline.document import HOURS_OF_WEEK, Baseline
from registry_client.baseline.reference import Batch, Naming, build_baseline
from registry_client.errors import BadDocument
from registry_client.golden import Run
from registry_client.tensors import Signature

SECONDS_AN_HOUR: Final = 3600
SECONDS_A_DAY: Final = 86_400
EPOCH_HOUR: Final = 72
"""The hour of the week in which 1970 began, a Thursday; the week begins on Monday, 0:00 UTC."""


def training_baseline(
    definition: Definition,
    signature: Signature,
    run: Run,
    training: Examples,
    importances: Mapping[str, float],
    tau: float,
) -> Baseline:
    """The baseline of training's rows and of what `run`, the graph, answers to them. importances: shares by feature.

    tau: the shift, as PSI, that counts. Raises Refusal where the rows are too few for it.
    """
    features, task = definition.features, definition.task
    hourly = has_times_of_day(training.at_s)
    numbers = [column.name for column in features.numbers]
    batch = Batch(training.inputs(), labels=training.labels, hours=hours_of_week(training.at_s) if hourly else None)
    try:
        return build_baseline(
            signature,
            [batch],
            run=run,
            naming=Naming(
                {NUMBERS: numbers}, _places(task) if isinstance(task, Classification) else None, definition.label
            ),
            hourly=hourly,
            choices=Choices(
                tau=tau,
                categories=frozenset(column.name for column in features.numbers if isinstance(column, Code)),
                importances={name: importances[name] for name in numbers},
                exact=True,  # a sketch draws random bits, and the bundle would have another digest each time
            ),
        ).baseline
    except BadDocument as error:
        raise Refusal(
            f"baseline: {error.field}", expected=error.expected, got=error.got,
            hint=f"{error.hint} For a run on a part of the rows: --set bundle.tau=1.0.",
        ) from error  # fmt: skip


def has_times_of_day(at_s: npt.NDArray[np.int64]) -> bool:
    """Whether seconds since 1970 UTC tell an hour: midnight everywhere says that only the day or year is known."""
    return bool((at_s % SECONDS_A_DAY != 0).any())


def hours_of_week(at_s: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64[n], 0 for Monday 0:00 UTC, of seconds since 1970 UTC."""
    return (at_s // SECONDS_AN_HOUR + EPOCH_HOUR) % HOURS_OF_WEEK


def _places(task: Classification) -> tuple[int, ...]:
    return tuple(range(len(task.labels)))
