"""One file's rows, as they would have been counted: when they came, whose they were, what went in and came out.

Used by `files`. Two ways: the model is run over what the file feeds it, or, of a recording, what was answered is taken
as it was recorded. Always: pieces of bounded size, in the file's order, which is that of their times; a file is open
only while it is read, since a recording has thousands of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from registry_client.baseline.mapping import Known
from registry_client.baseline.parquet import Cells, Content, ParquetRows
from registry_client.baseline.recording import DIGEST, KEY_BUCKET, TIME, Recording
from registry_client.baseline.reference import PIECE_ROWS_MAX
from registry_client.baseline.rows import BATCH_BYTES, ModelRows, Source, tensor_of
from registry_client.errors import BadDocument
from registry_client.golden import Run
from registry_client.tensors import TensorSpec
from server.replay.keys import KeyBuckets
from server.replay.subject import Subject
from server.replay.times import ColumnClock, Times

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Rows:
    """n rows. times_us: int64[n], never falling; none of a file without times. buckets: uint8[n], of their keys.

    arrays: by name the tensors that are counted, [n, ...] each.
    """

    times_us: Times | None
    buckets: npt.NDArray[np.uint8]
    arrays: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.buckets)

    def taken(self, which: slice | npt.NDArray[Any]) -> Rows:
        """Some of them: a slice, a mask or places."""
        times_us = None if self.times_us is None else self.times_us[which]
        return Rows(times_us, self.buckets[which], {name: array[which] for name, array in self.arrays.items()})


class RowsFile(Protocol):
    """A file that was looked at. rows: all that it has. first_us: when its first one came, None without times."""

    @property
    def rows(self) -> int: ...

    @property
    def first_us(self) -> int | None: ...

    def pieces(self) -> Iterator[Rows]: ...


class FedFile:
    """A file that feeds the model. run: None where its answers are not counted. key: a column, where there is one.

    has_buckets: that column has buckets already, as recordings have. Raises BadDocument where columns don't suit.
    """

    def __init__(
        self,
        subject: Subject,
        source: Source,
        run: Run | None,
        keys: KeyBuckets,
        *,
        key: str | None = None,
        has_buckets: bool = False,
    ) -> None:
        self._subject, self._source, self._run, self._keys = subject, source, run, keys
        self._key, self._has_buckets = key, has_buckets
        self.rows = ModelRows(subject.signature, source).rows
        self.first_us = None if source.time is None else _first_us(source.path, source.time)

    def pieces(self) -> Iterator[Rows]:
        time = self._source.time
        clock = None if time is None else ColumnClock(self._source.path, time)
        for piece in ModelRows(self._subject.signature, self._source).pieces(PIECE_ROWS_MAX):
            rows = len(next(iter(piece.inputs.values())))
            times_us = None
            if clock is not None and time is not None:
                times_us = clock.times(piece.cells[time], piece.first_row)
            outputs = {} if self._run is None else self._run(piece.inputs)
            arrays = _only({**piece.inputs, **outputs}, self._subject.counted)
            yield Rows(times_us, self._buckets(piece.cells, rows), arrays)

    def _buckets(self, cells: Mapping[str, Cells], rows: int) -> npt.NDArray[np.uint8]:
        if self._key is None:
            return self._keys.spread(rows)
        if self._has_buckets:
            return self._keys.of_buckets(cells[self._key])
        return self._keys.of_keys(cells[self._key], self._source.path, self._key)


class RecordedFile:
    """A recording, of which only rows are taken that this very artifact has answered, with its answers."""

    def __init__(self, subject: Subject, path: Path, recording: Recording, keys: KeyBuckets) -> None:
        self._subject, self._path, self._recording, self._keys = subject, path, recording, keys
        specs = (
            *((spec, recording.inputs) for spec in subject.signature.inputs),
            *((spec, recording.outputs) for spec in subject.signature.outputs),
        )
        self._tensors = [
            (spec, self._names_of(spec, tensors)) for spec, tensors in specs if spec.name in subject.counted
        ]
        names = [name for _, tensor in self._tensors for name in tensor if name not in recording.redacted]
        self._names = [TIME, DIGEST, KEY_BUCKET, *names]
        file = ParquetRows(path)
        known = Known(str(path), file.columns)
        for name in self._names:
            content = {TIME: Content.TIMES, DIGEST: Content.TEXT}.get(name, Content.NUMBERS)
            known.check(name, content, "of a recording")
        self.rows = file.rows
        self.first_us = _first_us(path, TIME)

    def pieces(self) -> Iterator[Rows]:
        clock = ColumnClock(self._path, TIME)
        digest = self._subject.digest.encode()
        rows_max = max(1, min(PIECE_ROWS_MAX, BATCH_BYTES // (8 * len(self._names))))
        first_row = 0
        for cells in ParquetRows(self._path).batches(self._names, rows_max):
            times_us = clock.times(cells[TIME], first_row)
            arrays = {spec.name: self._tensor(spec, names, cells, first_row) for spec, names in self._tensors}
            rows = Rows(times_us, self._keys.of_buckets(cells[KEY_BUCKET]), arrays)
            first_row += len(rows)
            own = np.fromiter((one == digest for one in cells[DIGEST].values), dtype=np.bool_, count=len(rows))
            if own.any():
                yield rows if own.all() else rows.taken(own)

    def _names_of(self, spec: TensorSpec, tensors: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        names = tensors.get(spec.name, ())
        if len(names) != spec.row_elements:
            raise BadDocument(
                f"{self._path}", expected=f"{spec.row_elements} columns of {spec.name!r}, as {self._subject.name} has",
                got=f"{len(names)}", hint="It was recorded from another model.",
            )  # fmt: skip
        return names

    def _tensor(
        self, spec: TensorSpec, names: tuple[str, ...], cells: Mapping[str, Cells], first_row: int
    ) -> Array:
        """Zeros stand for columns that were left out: no feature of theirs is counted."""
        zeros = Cells(np.zeros(len(cells[TIME].values), dtype=np.int8), None)
        filled = {name: cells.get(name, zeros) for name in names}
        return tensor_of(spec, names, filled, self._path, first_row)


def _first_us(path: Path, time: str) -> int:
    first = next(ParquetRows(path).batches([time], 1))
    return int(first[time].values[0])


def _only(arrays: Mapping[str, Array], names: frozenset[str]) -> dict[str, Array]:
    return {name: array for name, array in arrays.items() if name in names}
