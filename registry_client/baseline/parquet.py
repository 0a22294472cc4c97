"""A Parquet file as batches of numpy arrays, whatever its size. pyarrow is imported here and nowhere else.

Used by `roost bundle --reference` and by whoever replays recorded rows. Always: a batch at a time is in memory, only
the wanted columns are decoded, and what the file cannot give is refused in one line that names file and column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from registry_client.errors import BadDocument, MissingLibrary

BATCH_ROWS: Final = 65_536
_READ_BYTES: Final = 1 << 20
_MICROSECONDS: Final = {"s": 1_000_000, "ms": 1000, "us": 1}
_NANOSECONDS_A_MICROSECOND: Final = 1000
_DAMAGED: Final = "It is damaged or was cut short: write or copy it again."


class Content(Enum):
    """What a file's column holds, as far as it matters here."""

    NUMBERS = "numbers"
    TIMES = "times"
    TEXT = "text"
    OTHER = "other"


@dataclass(frozen=True)
class FileColumn:
    """type_name: as the file calls it. is_list: each row holds several."""

    name: str
    content: Content
    type_name: str
    is_list: bool = False


@dataclass(frozen=True)
class Cells:
    """A column of a batch. values: [n], or [n, width] of a list column; bytes objects where text, where times
    microseconds since 1970 in UTC (int64). present: bool of the same shape, False where the file has none; None where
    it has all."""

    values: npt.NDArray[Any]
    present: npt.NDArray[np.bool_] | None


class ParquetRows:
    """An opened file. rows: how many there are. metadata: what its writer has noted of it.

    Raises BadDocument where it is none, empty or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrow, parquet = _library()
        with self._damage_named(), path.open("rb"):  # the system's own words where it cannot be opened
            # Unbuffered, a column chunk would be read whole: as large as the writer made its row groups.
            self._file = parquet.ParquetFile(str(path), buffer_size=_READ_BYTES, pre_buffer=False)
            schema = self._file.schema_arrow
        self.rows = int(self._file.metadata.num_rows)
        self.metadata: dict[bytes, bytes] = dict(schema.metadata or {})
        self.columns = tuple(self._described(field) for field in schema)
        names = [column.name for column in self.columns]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise BadDocument(
                f"{path}", expected="every column once", got=f"{twice!r} twice", hint="Rename one of them."
            )
        if self.rows == 0:
            raise BadDocument(f"{path}", expected="rows", got="none", hint="Give a file that has some.")

    def batches(self, names: Sequence[str], rows_max: int = BATCH_ROWS) -> Iterator[dict[str, Cells]]:
        """The named columns, all of which the file has, at most `rows_max` rows at a time, in the file's order."""
        described = {column.name: column for column in self.columns}
        with self._damage_named():
            batches = self._file.iter_batches(batch_size=rows_max, columns=list(names), use_threads=False)
            for batch in batches:
                yield {name: self._cells(described[name], batch.column(name)) for name in names}

    def _described(self, field: Any) -> FileColumn:
        types = self._arrow.types
        kind, is_list = field.type, False
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
            kind, is_list = kind.value_type, True
        inner = kind.value_type if types.is_dictionary(kind) else kind
        # A column without any value has the null type.
        numeric = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
        text = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
        if any(is_a(inner) for is_a in numeric):
            content = Content.NUMBERS
        elif any(is_a(inner) for is_a in text):
            content = Content.TEXT
        elif types.is_timestamp(inner) or types.is_date(inner):
            content = Content.TIMES
        else:
            content = Content.OTHER
        return FileColumn(field.name, content, str(field.type), is_list)

    def _cells(self, described: FileColumn, column: Any) -> Cells:
        if not described.is_list:
            return self._flat_cells(described.content, column)
        lengths = column.value_lengths().fill_null(-1).to_numpy(zero_copy_only=False)
        if (lengths != lengths[:1]).any() or column.null_count:
            raise BadDocument(
                f"{self._path}: column {described.name!r}", expected="lists of one length in all rows",
                got=f"lengths {sorted(set(lengths.tolist()))[:3]}", hint="Write one column for each element.",
            )  # fmt: skip
        cells = self._flat_cells(described.content, column.flatten())
        shape = (len(column), -1)
        return Cells(cells.values.reshape(shape), None if cells.present is None else cells.present.reshape(shape))

    def _flat_cells(self, content: Content, column: Any) -> Cells:
        types = self._arrow.types
        if types.is_dictionary(column.type):
            column = column.dictionary_decode()
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        present = None if valid.all() else valid
        if content is Content.TEXT:
            texts = np.empty(len(column), dtype=object)
            texts[:] = [_encoded(text) for text in column.to_pylist()]
            return Cells(texts, present)
        if content is Content.TIMES:
            return Cells(self._microseconds(column), present)
        if types.is_null(column.type):
            return Cells(np.zeros(len(column)), present)
        if types.is_decimal(column.type):
            column = column.cast(self._arrow.float64())
        if types.is_floating(column.type):
            # Missing as NaN, which is how it is fed to a model.
            return Cells(column.to_numpy(zero_copy_only=False), None)
        filler = False if types.is_boolean(column.type) else 0
        return Cells(column.fill_null(filler).to_numpy(zero_copy_only=False), present)

    def _microseconds(self, column: Any) -> npt.NDArray[np.int64]:
        if self._arrow.types.is_date(column.type):
            column = column.cast(self._arrow.timestamp("ms"))
        # Counted from 1970 in UTC, with a zone or without one.
        ticks = column.cast(self._arrow.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        if column.type.unit == "ns":
            return np.asarray(ticks // _NANOSECONDS_A_MICROSECOND, dtype=np.int64)
        return np.asarray(ticks * _MICROSECONDS[column.type.unit], dtype=np.int64)

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except BadDocument:
            raise
        except (self._arrow.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            got = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise BadDocument(f"{self._path}", expected="a whole Parquet file", got=got, hint=_DAMAGED) from error


def _encoded(text: object) -> bytes:
    if isinstance(text, str):
        return text.encode("utf-8")
    return text if isinstance(text, bytes) else b""


def _library() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingLibrary(
            "pyarrow", expected="the library to be installed", got=f"{error}",
            hint="It reads Parquet files: pip install 'roost-server[baseline]'.",
        ) from error  # fmt: skip
    return pyarrow, pyarrow.parquet
