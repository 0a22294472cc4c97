"""Cutting: every span is in one window of each kind, windows follow each other, larger ones are sums of smaller."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from server.control.drift.cutting import CHILD, Cutter
from server.control.drift.readings import SLICE_NS
from server.control.drift.windows import KINDS, SLICES_MAX, SLICES_MIN, Span, Window, WindowKind
from tests.control.drift.counted_seats import MONDAY, SECOND, check_blocks, check_sequence

MINUTE, HOUR, DAY, WEEK = WindowKind


def span(start: int, end: int, rows: int) -> Span:
    by_key = np.zeros((16, 2), dtype=np.int64)
    by_key[rows % 16] = rows, 1
    return Span(start, end, by_key, by_key.sum(axis=0)[np.newaxis])


def rows_of(windows: Sequence[Window | None]) -> int:
    return sum(int(window.counts[0]) for window in windows if window is not None)


def whole_of(cutter: Cutter, closed: Sequence[Window], kind: WindowKind) -> list[Window | None]:
    return [*(window for window in closed if window.kind is kind), cutter.in_progress(kind)]


STEPS = st.one_of(
    st.integers(1, 8 * SECOND),
    st.integers(1, 200 * SECOND),
    st.integers(1, 5 * HOUR.length_ns),
    st.integers(1, 20 * DAY.length_ns),
)


@given(st.lists(st.tuples(STEPS, st.integers(0, 90), st.booleans()), max_size=60))
def test_whatever_the_times_each_span_is_in_one_window_of_each_kind(steps: list[tuple[int, int, bool]]) -> None:
    cutter, at, total = Cutter(), MONDAY, 0
    closed: list[Window] = []
    for step, rows, is_read in steps:
        start, at = max(at, cutter.covered_utc_ns), at + step
        if is_read and start < at:
            closed += cutter.add(span(start, at, rows))
            total += rows
        closed += cutter.expire(at)
        for kind in KINDS:
            assert rows_of(whole_of(cutter, closed, kind)) == total
    for window in closed:
        check_blocks(window)
        assert 1 <= len(window.blocks_by_time) <= SLICES_MAX
    for kind in KINDS:
        check_sequence([window for window in closed if window.kind is kind])
    for kind, child in CHILD.items():
        parts = [window for window in closed if window.kind is child]
        for window in closed:
            if window.kind is kind:
                inside = [
                    part
                    for part in parts
                    if window.start_utc_ns <= part.start_utc_ns and part.end_utc_ns <= window.end_utc_ns
                ]
                assert sum((part.counts for part in inside), np.zeros(2, dtype=np.int64)).tolist() == (
                    window.counts.tolist()
                )
                assert {kind.unit_start(part.middle_utc_ns) for part in inside} == {window.unit_utc_ns}


def test_readings_on_time_make_windows_that_are_aligned_and_none_is_longer() -> None:
    cutter, closed = Cutter(), []
    late = [0, 3_000_000, 200_000_000]
    at = MONDAY
    for number in range(1, 3 * 60 * 16 + 1):
        start, at = at, MONDAY + number * SLICE_NS + late[number % 3]
        closed += cutter.add(span(start, at, 1))
        closed += cutter.expire(at)
    minutes, hours = ([window for window in closed if window.kind is kind] for kind in (MINUTE, HOUR))
    assert [window.unit_utc_ns for window in minutes] == [MONDAY + n * MINUTE.length_ns for n in range(180)]
    assert [window.unit_utc_ns for window in hours] == [MONDAY + n * HOUR.length_ns for n in range(3)]
    assert {len(window.blocks_by_time) for window in minutes} == {16}
    assert {int(window.counts[0]) for window in minutes} == {16}
    assert {len(window.blocks_by_time) for window in hours} == {30}
    assert not any(window.longer for window in closed)


def test_a_reading_that_comes_too_early_does_not_lengthen_the_minute_before() -> None:
    cutter = Cutter()
    assert cutter.add(span(MONDAY, MONDAY + 60 * SECOND - 1000, 1)) == ()
    (closed,) = cutter.add(span(MONDAY + 60 * SECOND - 1000, MONDAY + 64 * SECOND, 2))
    assert rows_of([closed]) == 1
    assert rows_of([cutter.in_progress(MINUTE)]) == 2


def test_what_was_counted_while_nobody_read_is_one_longer_window_with_its_real_ends() -> None:
    cutter = Cutter()
    cutter.add(span(MONDAY, MONDAY + 20 * SECOND, 1))
    before, gap = cutter.add(span(MONDAY + 20 * SECOND, MONDAY + 2000 * SECOND, 100))
    assert (before.start_utc_ns, before.end_utc_ns, before.longer) == (MONDAY, MONDAY + 20 * SECOND, False)
    assert (gap.start_utc_ns, gap.end_utc_ns) == (MONDAY + 20 * SECOND, MONDAY + 2000 * SECOND)
    assert gap.longer
    assert rows_of([gap]) == 100
    (after,) = cutter.add(span(MONDAY + 2000 * SECOND, MONDAY + 2040 * SECOND, 3))
    assert after.start_utc_ns == gap.end_utc_ns
    assert not after.longer
    hour_so_far = cutter.in_progress(HOUR)
    assert hour_so_far is not None
    assert rows_of([hour_so_far]) == 104
    assert not hour_so_far.longer


def test_hours_and_days_of_silence_make_longer_windows_of_every_kind_and_lose_nothing() -> None:
    cutter = Cutter()
    closed = [*cutter.add(span(MONDAY, MONDAY + 1, 1))]
    closed += cutter.add(span(MONDAY + 1, MONDAY + 20 * DAY.length_ns, 50))
    for kind in KINDS:
        of_kind = [window for window in closed if window.kind is kind]
        assert [window.longer for window in of_kind] == [False, True]
        assert rows_of(of_kind) == 51


def test_windows_of_an_artifact_that_is_not_read_any_more_are_closed_by_time() -> None:
    cutter = Cutter()
    cutter.add(span(MONDAY, MONDAY + 5 * SECOND, 4))
    assert cutter.expire(MONDAY + 59 * SECOND) == ()
    assert [window.kind for window in cutter.expire(MONDAY + 60 * SECOND)] == [MINUTE]
    assert [window.kind for window in cutter.expire(MONDAY + 25 * HOUR.length_ns)] == [HOUR, DAY]
    assert [window.kind for window in cutter.expire(MONDAY + 7 * DAY.length_ns)] == [WEEK]
    assert [cutter.in_progress(kind) for kind in KINDS] == [None] * 4
    assert cutter.covered_utc_ns == MONDAY + 7 * DAY.length_ns


def test_a_week_has_slices_enough_for_an_effective_sample() -> None:
    cutter, closed = Cutter(), []
    for hour in range(7 * 24):
        start = MONDAY + hour * HOUR.length_ns
        closed += cutter.add(span(start, start + HOUR.length_ns, 1))
    for kind in (DAY, WEEK):
        assert {len(window.blocks_by_time) >= SLICES_MIN for window in closed if window.kind is kind} == {True}


def test_a_window_with_no_rows_is_a_window() -> None:
    nothing = np.zeros((16, 2), dtype=np.int64)
    (window,) = Cutter().add(Span(MONDAY, MONDAY + 60 * SECOND, nothing, nothing[:1]))
    assert window.is_empty
    (window,) = Cutter().add(span(MONDAY, MONDAY + 60 * SECOND, 1))
    assert not window.is_empty


def test_another_cutter_takes_up_what_the_first_had_in_progress() -> None:
    first, closed = Cutter(), []
    at = MONDAY
    for number in range(700):
        start, at = at, at + 40 * SECOND
        closed += first.add(span(start, at, number))
    ends = {
        kind: max((window.end_utc_ns for window in closed if window.kind is kind), default=0) for kind in KINDS
    }
    parts = {
        kind: [window for window in closed if window.kind is child and window.start_utc_ns >= ends[kind]]
        for kind, child in CHILD.items()
    }
    second = Cutter(max(ends.values()))
    assert second.resume(parts, first.in_progress(MINUTE)) == ()
    for kind in KINDS:
        before, after = first.in_progress(kind), second.in_progress(kind)
        assert before is not None
        assert after is not None
        assert (before.start_utc_ns, before.end_utc_ns) == (after.start_utc_ns, after.end_utc_ns)
        assert (before.blocks_by_key == after.blocks_by_key).all()
        assert (before.blocks_by_time.sum(axis=0) == after.blocks_by_time.sum(axis=0)).all()


def test_what_is_taken_up_is_put_in_order_though_an_hour_ends_with_it() -> None:
    """As where minutes of a long outage were joined: they reach past the end of their hour."""
    hour, minute = HOUR.length_ns, MINUTE.length_ns
    whole = span(MONDAY, MONDAY + hour, 5)
    hours = [Window(whole.start_utc_ns, whole.end_utc_ns, whole.blocks_by_key, whole.blocks_by_time, HOUR)]
    late = span(MONDAY + 2 * hour - 5 * minute, MONDAY + 2 * hour + minute, 7)
    minutes = [Window(late.start_utc_ns, late.end_utc_ns, late.blocks_by_key, late.blocks_by_time, MINUTE)]
    cutter = Cutter(MONDAY + 2 * hour + minute)
    (closed,) = cutter.resume({DAY: hours, HOUR: minutes}, None)
    assert (closed.kind, rows_of([closed])) == (HOUR, 7)
    day = cutter.in_progress(DAY)
    assert day is not None
    assert (day.start_utc_ns, day.end_utc_ns) == (MONDAY, closed.end_utc_ns)
    assert rows_of([day]) == 12
