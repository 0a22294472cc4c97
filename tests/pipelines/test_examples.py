"""Examples: one digest for the same rows, another for any other, and a file that is read as it was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pipelines.examples import Examples, read_examples
from pipelines.refusal import Refusal


def objects(*values: object) -> npt.NDArray[np.object_]:
    return np.array(values, dtype=object)


@pytest.fixture
def rows() -> Examples:
    """Three, one of them with a number and a text missing."""
    return Examples(
        numbers=np.array([[1.5, 2], [np.nan, 0], [3, -1]], dtype=np.float32),
        texts=objects("a", "", "b\nc").reshape(3, 1),
        labels=np.array([0.0, 1.0, 1.0]),
        slices={"sex": objects("male", "female", "female")},
        keys=objects("k0", "k1", "k2"),
        at_s=np.array([0, 86_400, 90_000], dtype=np.int64),
    )


def with_last(array: npt.NDArray[np.generic], value: object) -> npt.NDArray[np.generic]:
    changed = array.copy()
    changed[-1] = value
    return changed


CHANGES: dict[str, Callable[[Examples], Examples]] = {
    "a number": lambda rows: replace(rows, numbers=with_last(rows.numbers, [3, -1.0000001])),
    "a number that is missing": lambda rows: replace(rows, numbers=with_last(rows.numbers, [np.nan, -1])),
    "a text": lambda rows: replace(rows, texts=with_last(rows.texts, "b")),  # type: ignore[arg-type]
    "no texts": lambda rows: replace(rows, texts=None),
    "a label": lambda rows: replace(rows, labels=with_last(rows.labels, 0.0)),
    "a slice's value": lambda rows: replace(rows, slices={"sex": with_last(rows.slices["sex"], "male")}),
    "a slice's name": lambda rows: replace(rows, slices={"gender": rows.slices["sex"]}),
    "a key": lambda rows: replace(rows, keys=with_last(rows.keys, "k3")),
    "a time": lambda rows: replace(rows, at_s=with_last(rows.at_s, 90_001)),
    "another order": lambda rows: rows.take(np.array([2, 1, 0])),
    "a row less": lambda rows: rows.take(np.array([True, True, False])),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_other_gives_another_digest(rows: Examples, change: str) -> None:
    assert CHANGES[change](rows).digest() != rows.digest()


def test_what_is_read_is_what_was_written(rows: Examples, tmp_path: Path) -> None:
    for number, one in enumerate((rows, replace(rows, texts=None))):
        one.write(tmp_path / f"{number}.parquet")
        assert read_examples(tmp_path / f"{number}.parquet").digest() == one.digest()


@pytest.mark.parametrize("content", [None, b"", b"no parquet"])
def test_a_file_that_is_none_of_ours_is_refused_by_its_place(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "training.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Refusal, match=r"training\.parquet: expected examples that the features stage wrote"):
        read_examples(path)
