"""Buckets of many rows at once are those of each by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.drift.buckets import buckets_of
from native.drift.count import bucket_of
from native.plane.layout import DRIFT_BUCKETS

FORMS = {"compiled": buckets_of, "as Python": buckets_of.py_func}
WORDS = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize("run", FORMS.values(), ids=FORMS)
@given(rows=st.lists(st.tuples(st.integers(0, 1), WORDS), max_size=40))
def test_each_row_gets_the_bucket_of_its_key_or_of_its_word(
    run: Callable[..., None], rows: list[tuple[int, int]]
) -> None:
    keyed, words = (np.array([row[part] for row in rows], dtype=np.int64) for part in (0, 1))
    found = np.full(len(rows), 255, dtype=np.uint8)
    run(keyed, words, found)
    assert found.tolist() == [bucket_of(*row) for row in rows]
    assert all(bucket < DRIFT_BUCKETS for bucket in found.tolist())


@pytest.mark.parametrize("sizes", [(0, 5, 5), (5, 2, 5), (5, 5, 3)])
def test_nothing_beyond_the_shortest_array_is_touched(sizes: tuple[int, int, int]) -> None:
    keyed, words = np.ones(sizes[0], dtype=np.int64), np.arange(sizes[1], dtype=np.int64)
    room = np.full(8, 255, dtype=np.uint8)
    buckets_of(keyed, words, room[: sizes[2]])
    assert (room[min(sizes) :] == 255).all()
    assert (room[: min(sizes)] < DRIFT_BUCKETS).all()
