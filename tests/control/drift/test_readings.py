"""Readings: differences are never negative, and counts of a wrong shape are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from server.control.drift.readings import Reading, counted_between, own_copy, went_back
from tests.control.drift.counted_seats import DIGEST, MODEL, seat

COUNTS = arrays(np.int64, (16, 3), elements=st.integers(0, 2**40))


@given(COUNTS, COUNTS)
def test_a_difference_is_what_was_added_or_all_of_a_counter_that_began_anew(before: object, now: object) -> None:
    assert isinstance(before, np.ndarray)
    assert isinstance(now, np.ndarray)
    assert (counted_between(before, before + now) == now).all()
    assert (counted_between(None, now) == now).all()
    found = counted_between(before, now)
    assert (found >= 0).all()
    assert (found == (now if went_back(before, now) else now - before)).all()


def test_a_reading_is_copied_so_that_its_owner_may_go_on_counting() -> None:
    counted = seat()
    kept = own_copy(counted.reading())
    counted.counts += 1
    assert not kept.any()


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (np.zeros((16, 5), dtype=np.int32), r"expected int64\[16, bins\], got int32\[16, 5\]"),
        (np.zeros((8, 5), dtype=np.int64), r"got int64\[8, 5\]"),
        (np.zeros((16, 0), dtype=np.int64), r"got int64\[16, 0\]"),
        (np.zeros(80, dtype=np.int64), r"got int64\[80\]. Read them with the bins of the artifact's baseline"),
        (np.full((16, 5), -3, dtype=np.int64), "expected 0 or more, got -3"),
    ],
)
def test_counts_of_a_wrong_shape_are_refused(counts: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=f"counts of m in seat 0: .*{said}"):
        own_copy(Reading(MODEL, DIGEST, seat().source, counts))
