"""Windows: their units are UTC's, and whatever is merged adds up."""

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.control.drift.windows import (
    SLICES_MAX,
    SLICES_MIN,
    Slices,
    Window,
    WindowKind,
    fewer_slices,
    joined,
    merged,
)
from tests.control.drift.counted_seats import MONDAY, SECOND, check_blocks

MINUTE, HOUR, DAY, WEEK = WindowKind


def window(start_s: float, end_s: float, kind: WindowKind = MINUTE, slices: int = 4, bins: int = 3) -> Window:
    random = np.random.default_rng(int(start_s))
    by_time = random.integers(0, 50, (slices, bins))
    by_key = np.zeros((16, bins), dtype=np.int64)
    by_key[0] = 1
    by_key[1] = by_time.sum(axis=0) - 1
    return Window(MONDAY + int(start_s * SECOND), MONDAY + int(end_s * SECOND), by_key, by_time, kind)


@given(st.datetimes(datetime.datetime(1970, 1, 8), datetime.datetime(2100, 1, 1)))
def test_a_unit_begins_where_the_calendar_says(at: datetime.datetime) -> None:
    at_utc = at.replace(tzinfo=datetime.UTC)
    midnight = at_utc.replace(hour=0, minute=0, second=0, microsecond=0)
    expected = {
        MINUTE: at_utc.replace(second=0, microsecond=0),
        HOUR: at_utc.replace(minute=0, second=0, microsecond=0),
        DAY: midnight,
        WEEK: midnight - datetime.timedelta(days=at_utc.weekday()),
    }
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    at_utc_ns = (at_utc - epoch) // datetime.timedelta(microseconds=1) * 1000
    for kind, start in expected.items():
        assert kind.unit_start(at_utc_ns) == (start - epoch) // datetime.timedelta(microseconds=1) * 1000


def test_a_window_belongs_to_the_unit_of_its_middle_and_says_where_it_is_longer() -> None:
    on_time = window(60.02, 120.01)
    assert on_time.unit_utc_ns == MONDAY + 60 * SECOND
    assert not on_time.longer
    assert not window(58.2, 121.9).longer  # readings a little less than a slice off
    gap = window(70, 330)
    assert gap.longer
    assert gap.unit_utc_ns == MONDAY + 180 * SECOND
    assert not window(0, 3659, HOUR).longer
    assert window(0, 4000, HOUR).longer


@given(st.integers(1, 500))
def test_pieces_become_at_least_sixteen_slices_where_there_are_as_many_and_add_up(pieces: int) -> None:
    slices = Slices()
    for piece in range(pieces):
        slices.add(np.array([1, piece], dtype=np.int64))
    found = slices.stacked()
    assert min(pieces, SLICES_MIN) <= len(found) <= SLICES_MAX
    assert found.sum(axis=0).tolist() == [pieces, pieces * (pieces - 1) // 2]
    lengths = found[:, 0]
    assert len(set(lengths[:-1].tolist())) <= 1  # the last one may not be full
    assert lengths[-1] <= lengths[0]
    firsts = np.cumsum(lengths) - lengths
    assert found[:, 1].tolist() == [int(n * f + n * (n - 1) // 2) for n, f in zip(lengths, firsts, strict=True)]


@given(st.integers(1, 40), st.integers(1, 40))
def test_fewer_slices_add_neighbours_up_evenly(had: int, wanted: int) -> None:
    blocks = np.stack([np.ones(had, dtype=np.int64), np.arange(had)], axis=1)
    found = fewer_slices(blocks, wanted)
    assert len(found) == min(had, wanted)
    assert found.sum(axis=0).tolist() == blocks.sum(axis=0).tolist()
    assert found[:, 0].max() - found[:, 0].min() <= 1


def test_windows_that_follow_each_other_join_and_lose_nothing() -> None:
    first, second = window(0, 60, slices=20), window(60, 120, slices=20)
    both = joined(MINUTE, first, second)
    assert (both.counts == first.counts + second.counts).all()
    assert (both.start_utc_ns, both.end_utc_ns) == (first.start_utc_ns, second.end_utc_ns)
    assert SLICES_MIN <= len(both.blocks_by_time) <= SLICES_MAX
    assert both.longer
    check_blocks(both)


def test_old_windows_have_their_sums_only_and_what_they_join_has_no_blocks_by_key() -> None:
    whole = window(0, 60)
    old = whole.without_blocks()
    assert whole.has_blocks
    assert not old.has_blocks
    assert (old.counts == whole.counts).all()
    both = joined(MINUTE, old, window(60, 120))
    assert not both.has_blocks
    check_blocks(both)


def test_windows_of_several_artifacts_merge_by_bucket_and_by_slice() -> None:
    first, second = window(0.5, 60.5, slices=16), window(0.25, 60.25, slices=8)
    both = merged([first, second])
    assert (both.counts == first.counts + second.counts).all()
    assert (both.blocks_by_key == first.blocks_by_key + second.blocks_by_key).all()
    assert len(both.blocks_by_time) == 8
    assert (both.start_utc_ns, both.end_utc_ns) == (second.start_utc_ns, first.end_utc_ns)
    check_blocks(both)


def test_windows_of_other_units_or_bins_are_not_merged() -> None:
    with pytest.raises(ValueError, match=r"windows: expected the minute that begins at .* Merge windows of the same"):
        merged([window(0, 60), window(60, 120)])
    with pytest.raises(ValueError, match=r"expected 3 bins, got 4. Merge only artifacts whose baselines"):
        merged([window(0, 60), window(1, 59, bins=4)])
    with pytest.raises(ValueError, match="got the hour"):
        merged([window(0, 60), window(0, 3600, HOUR)])
