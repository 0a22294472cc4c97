"""A Parquet file as a model's batches: columns found, cast and put into tensors.

Used by `roost bundle --reference` and by whoever replays rows. Always: tensors have the dtypes of the signature, as
`reference_run` takes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from registry_client.baseline.builder import NO_HOUR
from registry_client.baseline.casting import cast
from registry_client.baseline.document import HOURS_OF_WEEK
from registry_client.baseline.mapping import Known, map_columns
from registry_client.baseline.parquet import BATCH_ROWS, Cells, Content, ParquetRows
from registry_client.baseline.reference import Batch
from registry_client.baseline.values import has_columns
from registry_client.errors import BadDocument
from registry_client.golden import Tensors
from registry_client.tensors import Datatype, Signature, TensorSpec

BATCH_BYTES: Final = 64 << 20
MICROSECONDS_AN_HOUR: Final = 3_600_000_000
EPOCH_HOUR: Final = 72
"""1 January 1970 was a Thursday: so many hours after Monday 0:00."""


@dataclass(frozen=True)
class Source:
    """Where a model's rows are. time, label: columns of them. meaning, explicit: see `Known`.

    class_labels: where the labels are text, what the model calls its classes; a label becomes its class's place.
    beside: columns that are read as well, and feed nothing.
    """

    path: Path
    time: str | None = None
    label: str | None = None
    meaning: tuple[str, ...] = ()
    explicit: Mapping[str, tuple[str, ...]] | None = None
    class_labels: tuple[str | int, ...] | None = None
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """n rows as they were read. first_row: of the file. inputs: by name, as the model takes them.

    cells: by column all that was read, of times and of what is read beside too.
    """

    first_row: int
    inputs: Tensors
    cells: Mapping[str, Cells]


class ModelRows:
    """The file, opened and mapped. columns: by input the file's columns that feed it.

    Raises BadDocument where the file cannot be read, or does not have what the model takes.
    """

    def __init__(self, signature: Signature, source: Source) -> None:
        self._signature, self._source = signature, source
        self._file = ParquetRows(source.path)
        reserved = frozenset(name for name in (source.time, source.label, *source.beside) if name is not None)
        known = Known(str(source.path), self._file.columns, reserved, source.meaning, source.explicit)
        if source.time is not None:
            known.check(source.time, Content.TIMES, "for --time")
        self._labels_are_text = False
        if source.label is not None:
            text = any(one.name == source.label and one.content is Content.TEXT for one in self._file.columns)
            self._labels_are_text = text and any(isinstance(label, str) for label in source.class_labels or ())
            known.check(source.label, Content.TEXT if self._labels_are_text else Content.NUMBERS, "for --label")
        for name in source.beside:
            known.find(name, "to be read beside")
        self.columns = map_columns(signature, known)
        self.rows = self._file.rows

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """By input what its columns are called; without those that come as a list."""
        widths = {spec.name: spec.row_elements for spec in self._signature.inputs if has_columns(spec)}
        return {tensor: names for tensor, names in self.columns.items() if len(names) == widths.get(tensor)}

    @property
    def unfed(self) -> tuple[str, ...]:
        """Inputs that the file has nothing for: the model cannot be run on these rows."""
        return tuple(spec.name for spec in self._signature.inputs if spec.name not in self.columns)

    def batches(self) -> Iterator[Batch]:
        """All rows, in the file's order."""
        for piece in self.pieces():
            yield Batch(piece.inputs, self._labels(piece.cells, piece.first_row), self._hours(piece.cells))

    def pieces(self, rows_max: int = BATCH_ROWS) -> Iterator[Piece]:
        """All rows, in the file's order, at most `rows_max` at a time."""
        names = list(dict.fromkeys(name for feeding in self.columns.values() for name in feeding))
        others = (self._source.time, self._source.label, *self._source.beside)
        names += [name for name in dict.fromkeys(others) if name is not None and name not in names]
        row_bytes = sum(spec.row_bytes for spec in self._signature.inputs if has_columns(spec))
        rows_max = max(1, min(rows_max, BATCH_BYTES // max(8 * len(names), row_bytes)))
        first_row = 0
        for cells in self._file.batches(names, rows_max):
            inputs = {
                spec.name: tensor_of(spec, self.columns[spec.name], cells, self._source.path, first_row)
                for spec in self._signature.inputs if spec.name in self.columns
            }  # fmt: skip
            yield Piece(first_row, inputs, cells)
            first_row += len(next(iter(cells.values())).values)

    def _labels(self, cells: Mapping[str, Cells], first_row: int) -> npt.NDArray[np.float64] | None:
        if self._source.label is None:
            return None
        found = cells[self._source.label]
        what = what_of(self._source.path, self._source.label)
        if not self._labels_are_text:
            return np.asarray(cast(found, Datatype.FP64, what, first_row))
        places = {str(label).encode(): float(place) for place, label in enumerate(self._source.class_labels or ())}
        labels = np.full(len(found.values), np.nan)
        for row, text in enumerate(found.values):
            if found.present is None or found.present[row]:
                if text not in places:
                    raise BadDocument(
                        f"{what}, row {first_row + row}",
                        expected=f"a class of the model: {b', '.join(places).decode()[:200]}", got=repr(text)[1:80],
                        hint="Write the labels as the model calls them.",
                    )  # fmt: skip
                labels[row] = places[text]
        return labels

    def _hours(self, cells: Mapping[str, Cells]) -> npt.NDArray[np.int64] | None:
        if self._source.time is None:
            return None
        found = cells[self._source.time]
        hours = (found.values // MICROSECONDS_AN_HOUR + EPOCH_HOUR) % HOURS_OF_WEEK
        return hours if found.present is None else np.where(found.present, hours, NO_HOUR)


def tensor_of(
    spec: TensorSpec, names: tuple[str, ...], cells: Mapping[str, Cells], path: Path, first_row: int
) -> npt.NDArray[Any]:
    """The named columns as rows of the tensor, [n, ...] of its dtype. path, first_row: for refusals.

    Raises BadDocument where a value is none that the tensor can hold.
    """
    arrays = [cast(cells[name], spec.datatype, what_of(path, name), first_row) for name in names]
    if not has_columns(spec):
        # As the file has it, one column: the model itself says whether that is what it takes.
        return arrays[0].reshape(len(arrays[0]), *(1 for _ in spec.shape[1:])) if len(arrays) == 1 else (
            np.stack(arrays, axis=1)
        )  # fmt: skip
    rows = arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)
    if rows.size != len(rows) * spec.row_elements:
        raise BadDocument(
            what_of(path, names[0]), expected=f"{spec.row_elements} elements in each row",
            got=f"{rows.size // len(rows)}", hint=f"Input {spec.name!r} has so many.",
        )  # fmt: skip
    return np.ascontiguousarray(rows.reshape(len(rows), *spec.shape[1:]))


def what_of(path: Path, name: str) -> str:
    """How messages call a column."""
    return f"{path}: column {name!r}"
