"""Examples: rows as a caller would send them, with what is known of each; and their file.

Made by the features stage, read by every later one. Always: arrays of one length, in an order that depends on the rows
alone; a file of the same examples has the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.refusal import Refusal

NUMBERS: Final = "features"
"""The input of numbers, float32[rows, columns]; NaN where one is missing."""
TEXTS: Final = "texts"
"""The input of texts, [rows, columns] of str; "" where one is missing. Absent where a model takes none."""


@dataclass(frozen=True)
class Examples:
    """n rows. numbers: float32[n, k], raw. texts: object[n, m] of str, raw, or None.

    labels: float64[n]; classes are 0.0, 1.0, ... slices: by name of a slice column str[n]. keys: str[n], each once.
    at_s: int64[n], seconds since 1970 UTC of the event, or of its year's beginning.
    """

    numbers: npt.NDArray[np.float32]
    texts: npt.NDArray[np.object_] | None
    labels: npt.NDArray[np.float64]
    slices: Mapping[str, npt.NDArray[np.object_]]
    keys: npt.NDArray[np.object_]
    at_s: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self) -> dict[str, npt.NDArray[Any]]:
        """What the graph takes, by input."""
        return {NUMBERS: self.numbers} if self.texts is None else {NUMBERS: self.numbers, TEXTS: self.texts}

    def take(self, rows: npt.NDArray[Any]) -> Examples:
        """Those rows: indices, or bool[n]."""
        return Examples(
            np.ascontiguousarray(self.numbers[rows]),
            None if self.texts is None else self.texts[rows],
            self.labels[rows],
            {name: values[rows] for name, values in self.slices.items()},
            self.keys[rows],
            self.at_s[rows],
        )

    def digest(self) -> str:
        """sha256 of all values in their order: what a lineage can be compared by."""
        state = hashlib.sha256()
        for array, layout in ((self.numbers, "<f4"), (self.labels, "<f8"), (self.at_s, "<i8")):
            state.update(repr(array.shape).encode() + np.ascontiguousarray(array, dtype=layout).tobytes())
        texts = [] if self.texts is None else [("texts", self.texts.ravel())]
        for name, values in (*texts, *sorted(self.slices.items()), ("keys", self.keys)):
            state.update(json.dumps([name, values.tolist()], ensure_ascii=True, separators=(",", ":")).encode())
        return state.hexdigest()

    def write(self, path: Path) -> None:
        """As Parquet: `number_0`, ..., `text_0`, ..., `label`, `key`, `at_s`, `slice_NAME`."""
        columns: dict[str, Any] = {f"number_{index}": column for index, column in enumerate(self.numbers.T)}
        if self.texts is not None:
            columns |= {f"text_{index}": pa.array(column.tolist(), pa.string()) for index, column in
                        enumerate(self.texts.T)}  # fmt: skip
        columns |= {"label": self.labels, "key": pa.array(self.keys.tolist(), pa.string()), "at_s": self.at_s}
        columns |= {f"slice_{name}": pa.array(values.tolist(), pa.string()) for name, values in self.slices.items()}
        pq.write_table(pa.table(columns), path, compression="zstd")


@dataclass(frozen=True)
class Split:
    """What a model learns from, and what it is judged by: no row is in both."""

    training: Examples
    evaluation: Examples


def read_examples(path: Path) -> Examples:
    """What `Examples.write` wrote. Raises Refusal where the file is missing or is none of ours."""
    try:
        table = pq.read_table(path)
        numbers, texts = (
            [table[name].to_numpy() for name in _indexed(table.column_names, prefix)] for prefix in ("number_", "text_")
        )
        slices = [name for name in table.column_names if name.startswith("slice_")]
        return Examples(
            np.ascontiguousarray(np.column_stack(numbers), dtype=np.float32),
            np.column_stack([column.astype(object) for column in texts]) if texts else None,
            table["label"].to_numpy(),
            {name.removeprefix("slice_"): _objects(table[name]) for name in slices},
            _objects(table["key"]),
            table["at_s"].to_numpy(),
        )
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise Refusal(
            str(path), expected="examples that the features stage wrote", got=f"{type(error).__name__}: {error}"[:200],
            hint="Run the features stage again.",
        ) from error  # fmt: skip


def _indexed(names: list[str], prefix: str) -> list[str]:
    return sorted((name for name in names if name.startswith(prefix)), key=lambda name: int(name.removeprefix(prefix)))


def _objects(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    return np.array(column.to_pylist(), dtype=object)
