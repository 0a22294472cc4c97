"""Which columns of a model's tensors become features, in which order, and what they are called.

Used by `builder.py`. Always: inputs come in the signature's order, each column of a tensor that has columns; of the
outputs at most PREDICTIONS_MAX features. What is left out is said in a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from registry_client.baseline.document import ARGMAX, FEATURES_MAX, Kind
from registry_client.baseline.values import has_columns
from registry_client.errors import BadDocument
from registry_client.tensors import Datatype, Signature, TensorSpec

PREDICTIONS_MAX: Final = 64
_FLOATS: Final = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64, Datatype.BF16})


@dataclass(frozen=True)
class Column:
    """A feature to be. column: its place in a row, or ARGMAX. kind: None where its values are to decide."""

    name: str
    tensor: str
    column: int
    kind: Kind | None = None


def input_columns(
    signature: Signature, names: Mapping[str, Sequence[str]]
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The inputs' columns, and notes. names: by tensor what its columns are called, where that is known.

    Raises BadDocument where nothing is left, or too much.
    """
    kept = [spec for spec in signature.inputs if has_columns(spec)]
    columns = tuple(
        Column(name, spec.name, index) for spec in kept for index, name in enumerate(_names(spec, names.get(spec.name)))
    )
    if not 1 <= len(columns) <= FEATURES_MAX:
        raise BadDocument(
            "inputs", expected=f"1 to {FEATURES_MAX} columns of numbers, in tensors of shape [-1, fixed sizes]",
            got=f"{len(columns)}", hint="A baseline is no use to this model: bundle it without --reference.",
        )  # fmt: skip
    return columns, tuple(_left_out("input", spec) for spec in signature.inputs if not has_columns(spec))


def prediction_columns(
    signature: Signature, class_labels: Sequence[str | int] | None
) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """The outputs' columns, and notes: floats one by one and by the place of the largest, other types as categories.

    Where there are too many, each output's ARGMAX and first columns come before further ones of any.
    """
    candidates: list[Column] = []
    for spec in (spec for spec in signature.outputs if has_columns(spec)):
        is_float = spec.datatype in _FLOATS
        labels = [f"{spec.name}[{label}]" for label in class_labels or ()]
        names = _names(spec, labels if len(labels) == spec.row_elements > 1 else None)
        kind = None if is_float else Kind.CATEGORY
        candidates += [Column(name, spec.name, index, kind) for index, name in enumerate(names)]
        if is_float and spec.row_elements > 1:
            candidates.append(Column(f"{spec.name}[argmax]", spec.name, ARGMAX, Kind.CATEGORY))
    notes = [_left_out("output", spec) for spec in signature.outputs if not has_columns(spec)]
    if len(candidates) > PREDICTIONS_MAX:
        notes.append(f"the baseline has {PREDICTIONS_MAX} of the outputs' {len(candidates)} columns, the first of each")
        # Not by name alone: the order of a tie is the outputs' own.
        first = sorted(range(len(candidates)), key=lambda index: (candidates[index].column, index))[:PREDICTIONS_MAX]
        candidates = [candidates[index] for index in sorted(first)]
    return tuple(candidates), tuple(notes)


def _names(spec: TensorSpec, given: Sequence[str] | None) -> list[str]:
    if given is not None and len(given) == spec.row_elements:
        return list(given)
    if spec.row_elements == 1:
        return [spec.name]
    return [f"{spec.name}[{index}]" for index in range(spec.row_elements)]


def _left_out(what: str, spec: TensorSpec) -> str:
    why = "is text" if spec.datatype is Datatype.BYTES else f"has shape {list(spec.shape)}, no rows of a fixed size"
    return f"{what} {spec.name!r} is not in the baseline: it {why}"
