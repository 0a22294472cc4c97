"""Answers as a Parquet file: a column for each number that a model answers, the key, and which bundle said so.

Used by `roost score`. Always: the file appears whole or not at all; the same answers make the same bytes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.refusal import Refusal
from pipelines.scoring.engines import Answers
from pipelines.scoring.rows import Piece
from registry_client.verify import VerifiedBundle


def write_answers(
    path: Path, bundle: VerifiedBundle, answered: Iterable[tuple[Piece, Answers]], key: str | None
) -> int:
    """Writes them as they come; gives how many rows. Raises Refusal where the file can't be written."""
    told = {"roost.model": bundle.manifest.name, "roost.digest": bundle.digest}
    rows, writer = 0, None
    try:
        descriptor, filling = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        os.close(descriptor)
        try:
            for piece, answers in answered:
                table = pa.table(_columns(piece, answers, key)).replace_schema_metadata(told)
                writer = writer or pq.ParquetWriter(filling, table.schema, compression="zstd")
                writer.write_table(table)
                rows += table.num_rows
            if writer is None:
                raise Refusal(str(path), expected="rows to score", got="a file without any", hint="Give another.")
            writer.close()
            os.chmod(filling, 0o644)
            os.replace(filling, path)
        finally:
            Path(filling).unlink(missing_ok=True)
    except OSError as error:
        got = error.strerror or str(error)
        gone = isinstance(error, FileNotFoundError)
        hint = f"Make the folder {path.parent}." if gone else "Make room, or name another."
        raise Refusal(str(path), expected="a file that can be written", got=got, hint=hint) from error
    return rows


def _columns(piece: Piece, answers: Answers, key: str | None) -> dict[str, pa.Array]:
    """Outputs of one number a row under their name, others as NAME_0, NAME_1, ..."""
    columns = {}
    for name, values in answers.items():
        flat = values.reshape(len(values), -1)
        if flat.shape[1] == 1:
            columns[name] = _array(flat[:, 0])
        else:
            columns |= {f"{name}_{index}": _array(flat[:, index]) for index in range(flat.shape[1])}
    if key is None or piece.keys is None:
        return columns
    if key in columns:
        raise Refusal("--key", expected="a column that is no answer's", got=repr(key), hint="Rename it in the file.")
    return {key: pa.array(piece.keys.tolist(), pa.string()), **columns}


def _array(values: np.ndarray) -> pa.Array:
    return pa.array(values.tolist() if values.dtype == object else np.ascontiguousarray(values))
