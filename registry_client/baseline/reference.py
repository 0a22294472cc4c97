"""The reference: rows that a model learnt from, as batches of arrays, and the baseline that comes of them.

Used by `roost bundle --reference`, whose batches come from a Parquet file, and by pipelines, which have arrays.
Always: the rows are gone through once, and the model is run over them as it is served, in pieces of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from registry_client.baseline.builder import BaselineBuilder, Choices
from registry_client.baseline.columns import input_columns, prediction_columns
from registry_client.baseline.document import Baseline
from registry_client.errors import BadDocument
from registry_client.golden import Run, Tensors
from registry_client.tensors import Datatype, Signature, TensorSpec

PIECE_BYTES: Final = 16 << 20
PIECE_ROWS_MAX: Final = 16_384


@dataclass(frozen=True)
class Batch:
    """n rows. inputs: by name what the model takes, [n, ...] of the signature's dtypes; those that have no features,
    such as text, may be left out where the model is not run.

    labels: float64[n], NaN where unknown. hours: int64[n], of the week, Monday 0:00 UTC first, or NO_HOUR.
    """

    inputs: Tensors
    labels: npt.NDArray[np.float64] | None = None
    hours: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Naming:
    """What features are called. columns: by input, its columns' names. label: where there are labels, theirs.

    class_labels: names for the columns of an output that has one for each.
    """

    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    class_labels: Sequence[str | int] | None = None
    label: str | None = None


@dataclass(frozen=True)
class Built:
    """notes: what the baseline leaves out, a sentence each."""

    baseline: Baseline
    notes: tuple[str, ...]


def build_baseline(
    signature: Signature,
    batches: Iterable[Batch],
    *,
    run: Run | None,
    naming: Naming | None = None,
    hourly: bool = False,
    choices: Choices | None = None,
) -> Built:
    """The baseline of all rows in `batches`. run: the model; None leaves its predictions out.

    hourly: batches have hours, and rows are also counted by them. Raises BadDocument where rows are too few, or a
    column has no numbers, and what `run` raises.
    """
    naming = naming or Naming()
    inputs, notes = input_columns(signature, naming.columns)
    predictions, more_notes = ((), ()) if run is None else prediction_columns(signature, naming.class_labels)
    builder = BaselineBuilder(inputs, predictions, label=naming.label, hourly=hourly, choices=choices)
    for batch in batches:
        for piece in _pieces(signature, batch):
            outputs = {} if run is None else run(piece.inputs)
            rows = len(next(iter(piece.inputs.values())))
            _check_rows(outputs, {column.tensor for column in predictions}, rows)
            builder.add(
                _typed(signature.inputs, piece.inputs),
                _typed(signature.outputs, outputs),
                labels=piece.labels,
                hours=piece.hours,
            )
    return Built(builder.baseline(), (*notes, *more_notes))


def _typed(specs: Sequence[TensorSpec], arrays: Tensors) -> dict[str, tuple[Datatype, npt.NDArray[Any]]]:
    return {spec.name: (spec.datatype, arrays[spec.name]) for spec in specs if spec.name in arrays}


def _pieces(signature: Signature, batch: Batch) -> Iterator[Batch]:
    row_bytes = sum(
        max(8, spec.row_bytes) for spec in (*signature.inputs, *signature.outputs) if spec.has_free_rows
    )
    size = max(1, min(PIECE_ROWS_MAX, PIECE_BYTES // max(1, row_bytes)))
    rows = len(next(iter(batch.inputs.values())))
    for first in range(0, rows, size):
        part = slice(first, first + size)
        yield Batch(
            {name: array[part] for name, array in batch.inputs.items()},
            None if batch.labels is None else batch.labels[part],
            None if batch.hours is None else batch.hours[part],
        )


def _check_rows(outputs: Tensors, wanted: set[str], rows: int) -> None:
    for name in sorted(wanted):
        if len(outputs[name]) != rows:
            raise BadDocument(
                f"output {name!r}", expected=f"{rows} rows for {rows} of the reference", got=f"{len(outputs[name])}",
                hint="Its first dimension counts something else than rows: bundle the model without --reference.",
            )  # fmt: skip
