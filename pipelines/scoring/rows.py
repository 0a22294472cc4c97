"""Rows of a Parquet file as a model's inputs: columns found by the names that the bundle gives its features.

Used by `roost score`. Always: read in pieces of bounded size, in the file's order; a column that is missing or of
another type is refused by name before anything is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.examples import NUMBERS, TEXTS
from pipelines.refusal import Refusal
from registry_client.golden import Tensors
from registry_client.manifest import Manifest
from registry_client.tensors import Datatype

PIECE_ROWS: Final = 16_384


@dataclass(frozen=True)
class Piece:
    """n rows from `first` on. keys: of each, or None where the file has no such column."""

    first: int
    inputs: Tensors
    keys: npt.NDArray[np.object_] | None


def input_names(manifest: Manifest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the columns of `features`, and of `texts`. Raises Refusal for a bundle that does not name them."""
    sizes = {spec.name: spec.shape[1] for spec in manifest.signature.inputs if len(spec.shape) == 2}
    names = {name: _names(manifest.meaning.get(name)) for name in (NUMBERS, TEXTS)}
    counts = {name: len(given) for name, given in names.items() if given or name in sizes}
    if counts != sizes:
        raise Refusal(
            f"bundle of {manifest.name}", expected=f"names in meaning.{NUMBERS} and meaning.{TEXTS} for those inputs",
            got=f"{_counted(counts)} for inputs of {_counted(sizes)}", hint="Score bundles that roost train made.",
        )  # fmt: skip
    return names[NUMBERS], names[TEXTS]


def _names(described: object) -> tuple[str, ...]:
    """Of columns that are described, each by an object with a name; () where that is not what it is."""
    listed = described if isinstance(described, list | tuple) else ()
    names = [one.get("name") for one in listed if isinstance(one, Mapping)]
    return tuple(str(name) for name in names) if all(isinstance(name, str) for name in names) else ()


def _counted(counts: Mapping[str, object]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def read_pieces(path: Path, manifest: Manifest, key: str | None) -> Iterator[Piece]:
    """The file's rows as pieces. key: a column to carry along."""
    numbers, texts = input_names(manifest)
    file = _opened(path)
    _check_columns(file.schema_arrow, path, numbers, texts, key)
    wanted = [*numbers, *texts, *([] if key is None else [key])]
    first = 0
    for batch in _batches(file, path, wanted):
        yield _piece(first, batch, manifest, numbers, texts, key)
        first += batch.num_rows


def _batches(file: pq.ParquetFile, path: Path, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(PIECE_ROWS, columns=list(wanted))
    except (OSError, pa.ArrowException) as error:
        raise Refusal(
            str(path), expected="pages that can be read", got=" ".join(str(error).split())[:200],
            hint="The file is damaged: write it anew.",
        ) from error  # fmt: skip


def row_count(path: Path) -> int:
    return int(_opened(path).metadata.num_rows)


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        gone = isinstance(error, FileNotFoundError)
        got = "no file of that name" if gone else f"{type(error).__name__}: {error}"[:200].rstrip(".")
        raise Refusal(str(path), expected="a Parquet file", got=got, hint="Check the path.") from error


def _check_columns(
    schema: pa.Schema, path: Path, numbers: Sequence[str], texts: Sequence[str], key: str | None
) -> None:
    missing = [name for name in (*numbers, *texts, *([] if key is None else [key])) if name not in schema.names]
    if missing:
        others = f", nor {len(missing) - 1} others" if missing[1:] else ""
        raise Refusal(
            f"{path.name}: {missing[0]}", expected="a column of that name", got=f"none{others}",
            hint=f"The file has {', '.join(schema.names[:20])}.",
        )  # fmt: skip
    for names, fits, what in ((numbers, _is_number, "numbers"), (texts, _is_text, "texts")):
        for name in names:
            if not fits(schema.field(name).type):
                raise Refusal(
                    f"{path.name}: {name}", expected=f"a column of {what}", got=str(schema.field(name).type),
                    hint="Convert it first.",
                )  # fmt: skip


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def _texts(values: list[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


def _piece(
    first: int, batch: pa.RecordBatch, manifest: Manifest, numbers: Sequence[str], texts: Sequence[str], key: str | None
) -> Piece:
    inputs: dict[str, Any] = {}
    for spec in manifest.signature.inputs:
        if spec.name == NUMBERS:
            columns = [batch[name].cast(pa.float64()).to_numpy(zero_copy_only=False) for name in numbers]
            dtype = np.float64 if spec.datatype is Datatype.FP64 else np.float32
            inputs[NUMBERS] = np.ascontiguousarray(np.column_stack(columns), dtype=dtype)
        else:
            rows = [["" if value is None else str(value) for value in batch[name].to_pylist()] for name in texts]
            inputs[TEXTS] = np.array(rows, dtype=object).T
    keys = None if key is None else np.array(_texts(batch[key].to_pylist()), dtype=object)
    return Piece(first, inputs, keys)
