"""The book: what was counted is told by window, within bounds, whatever seats and clocks do."""

import numpy as np
import pytest

from server.control.drift.book import DriftBook
from server.control.drift.kept import SIGNALS_MAX, STATE_BYTES_MAX, STREAMS_MAX, Kept, Stream, recent_max
from server.control.drift.readings import Source
from server.control.drift.windows import DAY_NS, HOUR_NS, KINDS, MINUTE_NS, Window, WindowKind
from tests.control.drift.counted_seats import (
    DIGEST,
    MODEL,
    MONDAY,
    OTHER,
    SECOND,
    Clock,
    Observed,
    check_blocks,
    check_sequence,
    seat,
    store_in,
    total_of,
)

MINUTE, HOUR, DAY, WEEK = WindowKind


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def observed() -> Observed:
    return Observed(store_in(None), Clock())


def test_minutes_of_a_served_artifact_have_sixteen_slices_and_blocks_by_key(
    observed: Observed, random: np.random.Generator
) -> None:
    counted = seat()
    observed.run([counted], 16 * 3 + 5, random, rows=40)
    minutes = observed.windows(MINUTE)
    assert [window.unit_utc_ns for window in minutes] == [MONDAY + n * MINUTE_NS for n in range(3)]
    assert {window.blocks_by_time.shape for window in minutes} == {(16, 5)}
    assert {window.blocks_by_key.shape for window in minutes} == {(16, 5)}
    for window in minutes:
        check_blocks(window)
        assert window.counts.sum() == 16 * 40
    progress = observed.book.in_progress(MODEL, DIGEST, MINUTE)
    assert progress is not None
    assert (total_of([*minutes, progress]) == counted.total).all()
    hour = observed.book.in_progress(MODEL, DIGEST, HOUR)
    assert hour is not None
    assert (hour.counts == counted.total).all()


def test_seats_of_one_digest_are_one_artifact_and_others_are_their_own(
    observed: Observed, random: np.random.Generator
) -> None:
    one, two, other = seat(0), seat(1), seat(2, digest=OTHER)
    observed.run([one, two, other], 16, random)
    assert (total_of(observed.windows(MINUTE)) == one.total + two.total).all()
    assert (total_of(observed.windows(MINUTE, OTHER)) == other.total).all()


def test_a_counter_that_was_reset_begins_anew_and_nothing_is_negative(
    observed: Observed, random: np.random.Generator
) -> None:
    counted = seat()
    observed.run([counted], 8, random)
    before = counted.total
    counted.counts[:] = 0
    observed.run([counted], 8, random)
    (window,) = observed.windows(MINUTE)
    assert (window.counts == before + counted.total).all()
    assert (window.blocks_by_time >= 0).all()
    assert observed.book.resets == 1


def test_a_seat_that_was_given_to_another_artifact_counts_for_that_one_from_zero(
    observed: Observed, random: np.random.Generator
) -> None:
    first, second = seat(3, generation=1), seat(3, generation=2, digest=OTHER)
    observed.run([first], 8, random, rows=100)
    observed.run([second], 41, random, rows=7)
    assert (total_of(observed.windows(MINUTE)) == first.total).all()
    progress = observed.book.in_progress(MODEL, OTHER, MINUTE)
    assert progress is not None
    assert (total_of([*observed.windows(MINUTE, OTHER), progress]) == second.total).all()
    assert observed.book.resets == 0
    # Its digest comes back in another generation of the same seat.
    third = seat(3, generation=3)
    observed.run([third], 16, random)
    last = observed.book.in_progress(MODEL, DIGEST, MINUTE)
    assert last is not None
    assert (total_of([*observed.windows(MINUTE), last]) == first.total + third.total).all()
    check_sequence(observed.windows(MINUTE))


def test_the_first_reading_begins_when_the_plane_did(random: np.random.Generator) -> None:
    clock = Clock(MONDAY + 10 * HOUR_NS)
    observed = Observed(store_in(None), clock, plane_started_utc_ns=MONDAY + 9 * HOUR_NS)
    counted = seat()
    counted.count(random, 50)
    observed.observe([counted])
    (window,) = observed.windows(MINUTE)
    assert (window.start_utc_ns, window.end_utc_ns) == (MONDAY + 9 * HOUR_NS, MONDAY + 10 * HOUR_NS)
    assert window.longer


@pytest.mark.parametrize(
    "jump", [-40 * DAY_NS, -3 * HOUR_NS, -90 * SECOND, -1, 1, 90 * SECOND, 3 * HOUR_NS, 400 * DAY_NS]
)
def test_windows_neither_overlap_nor_come_twice_when_the_clock_jumps(
    jump: int, observed: Observed, random: np.random.Generator
) -> None:
    counted = seat()
    observed.run([counted], 16 * 2 + 9, random)
    observed.clock.jump(jump)
    observed.run([counted], 16 * 5, random)
    observed.clock.jump(-jump // 2)
    observed.run([counted], 16 * 5, random)
    assert len(observed.windows(MINUTE)) >= 6
    for kind in KINDS:
        check_sequence(observed.windows(kind))
        progress = observed.book.in_progress(MODEL, DIGEST, kind)
        parts = observed.windows(kind) + ([] if progress is None else [progress])
        assert (total_of(parts) == counted.total).all()


def test_a_clock_that_went_far_back_is_told_with_what_to_do(observed: Observed, random: np.random.Generator) -> None:
    observed.run([seat()], 2, random)
    assert observed.book.trouble is None
    observed.clock.jump(-5 * HOUR_NS)
    observed.run([seat()], 1, random)
    assert "got a time 5.0 h before it" in str(observed.book.trouble)
    assert "timedatectl" in str(observed.book.trouble)
    observed.clock.jump(5 * HOUR_NS)
    observed.run([seat()], 1, random)
    assert observed.book.trouble is None


def test_a_minute_without_rows_is_told_too(observed: Observed, random: np.random.Generator) -> None:
    observed.run([seat()], 16, random, rows=0)
    (window,) = observed.windows(MINUTE)
    assert window.is_empty


def test_an_artifact_that_lost_its_seat_has_its_windows_closed(
    observed: Observed, random: np.random.Generator
) -> None:
    observed.run([seat(0)], 3, random)
    observed.run([], 16, random)
    assert [window.kind for window in observed.windows(MINUTE)] == [MINUTE]
    assert observed.book.in_progress(MODEL, DIGEST, MINUTE) is None


def test_a_reading_is_due_once_a_slice_whatever_the_clock_does(observed: Observed) -> None:
    clock = observed.clock
    due = 0
    for _ in range(239):  # a minute, looked at four times a second
        clock.step(SECOND // 4)
        if observed.book.is_due(clock.at_utc_ns):
            due += 1
            observed.observe([])
    assert due == 16
    for jump in (-HOUR_NS, HOUR_NS):
        clock.jump(jump)
        assert observed.book.is_due(clock.at_utc_ns)
        observed.observe([])
        assert not observed.book.is_due(clock.at_utc_ns)


def test_readings_that_are_wrong_are_refused_and_nothing_is_taken(
    observed: Observed, random: np.random.Generator
) -> None:
    good, bad = seat(0), seat(1, bins=9)
    good.count(random, 5)
    with pytest.raises(ValueError, match="expected 5 bins, as in another seat with the same digest, got 9"):
        observed.observe([good, bad])
    assert observed.book.streams == ()
    observed.run([good], 16, random)
    assert (total_of(observed.windows(MINUTE)) == good.total).all()


def test_an_artifact_whose_bins_are_laid_out_otherwise_begins_anew(
    observed: Observed, random: np.random.Generator
) -> None:
    observed.run([seat(0)], 20, random)
    wider = seat(0, generation=2, bins=9)
    observed.run([wider], 32, random)
    assert {window.counts.size for window in observed.book.windows(MODEL, DIGEST, MINUTE, 10)} == {9}
    check_sequence(observed.windows(MINUTE))


def test_a_window_that_ends_with_what_was_found_on_disk_is_told_once(observed: Observed) -> None:
    by_key = np.zeros((16, 5), dtype=np.int64)
    late = Window(MONDAY + 55 * MINUTE_NS, MONDAY + 61 * MINUTE_NS, by_key, by_key[:1], MINUTE)
    kept = Kept(5, late.end_utc_ns, {}, {HOUR: (late,)}, None, (), {})
    book = DriftBook(observed.store, {Stream(MODEL, DIGEST): kept}, MONDAY)
    (closed,) = book.observe([], at_utc_ns=MONDAY + 70 * MINUTE_NS, now_ns=5)
    assert (closed.stream, closed.window.kind) == ((MODEL, DIGEST), HOUR)
    assert book.observe([], at_utc_ns=MONDAY + 71 * MINUTE_NS, now_ns=6) == ()


# --- Asking ----------------------------------------------------------------------------------------------------------
def test_the_last_windows_are_there_to_be_asked_for_the_newest_with_its_blocks(
    observed: Observed, random: np.random.Generator
) -> None:
    observed.run([seat()], 16 * 5, random)
    closed = observed.windows(MINUTE)
    latest = observed.book.latest(MODEL, DIGEST, MINUTE)
    assert latest is closed[-1]
    assert latest.has_blocks
    asked = observed.book.windows(MODEL, DIGEST, MINUTE, 3)
    assert [window.unit_utc_ns for window in asked] == [window.unit_utc_ns for window in closed[-3:]]
    assert [window.has_blocks for window in asked] == [False, False, True]
    assert observed.book.latest(MODEL, DIGEST, HOUR) is None
    assert observed.book.latest("unknown", DIGEST, MINUTE) is None
    assert observed.book.in_progress("unknown", DIGEST, MINUTE) is None
    assert observed.book.windows("unknown", DIGEST, MINUTE, 3) == ()


def test_the_history_of_a_feature_is_its_bins_over_the_last_windows(
    observed: Observed, random: np.random.Generator
) -> None:
    observed.run([seat()], 16 * 5 + 3, random)
    closed = observed.windows(MINUTE)
    found = observed.book.history(MODEL, DIGEST, MINUTE, slice(1, 3), 4)
    assert found.counts.tolist() == [window.counts[1:3].tolist() for window in closed[-4:]]
    assert found.starts_utc_ns.tolist() == [window.start_utc_ns for window in closed[-4:]]
    assert found.ends_utc_ns.tolist() == [window.end_utc_ns for window in closed[-4:]]
    so_far = observed.book.history(MODEL, DIGEST, MINUTE, slice(1, 3), 4, with_progress=True)
    assert so_far.counts[:4].tolist() == found.counts.tolist()
    assert so_far.counts.shape == (5, 2)
    assert observed.book.history(MODEL, OTHER, MINUTE, slice(1, 3), 4).counts.shape == (0, 2)


def test_windows_of_several_artifacts_of_a_model_are_merged_by_unit(
    observed: Observed, random: np.random.Generator
) -> None:
    stable, canary = seat(0), seat(1, digest=OTHER)
    observed.run([stable], 16, random)
    observed.run([stable, canary], 16 * 2, random)
    found = observed.book.merged(MODEL, [DIGEST, OTHER, OTHER], MINUTE, 10)
    assert [window.unit_utc_ns for window in found] == [MONDAY + n * MINUTE_NS for n in range(3)]
    assert (total_of(found) == stable.total + canary.total).all()
    assert found[-1].has_blocks
    assert len(observed.book.merged(MODEL, [DIGEST, OTHER], MINUTE, 2)) == 2
    assert observed.book.merged(MODEL, [], MINUTE, 2) == ()


# --- Bounds ----------------------------------------------------------------------------------------------------------
def test_how_many_windows_stay_in_memory_is_bounded_by_number_and_by_bytes(observed: Observed) -> None:
    for _ in range(recent_max(MINUTE, 5) + 20):
        observed.clock.step(MINUTE_NS)
        observed.observe([seat()])
    assert len(observed.book.windows(MODEL, DIGEST, MINUTE, 10_000)) == recent_max(MINUTE, 5) == 180
    assert recent_max(MINUTE, 16_384) == 64
    assert recent_max(MINUTE, 10**9) == 4


def test_artifacts_without_a_seat_leave_memory_and_those_with_one_stay(
    observed: Observed, random: np.random.Generator
) -> None:
    lasting = seat(0)
    for number in range(STREAMS_MAX + 20):
        observed.run([lasting, seat(1, generation=number + 1, digest=f"{number:064x}")], 1, random)
    streams = observed.book.streams
    assert len(streams) == STREAMS_MAX
    assert (MODEL, DIGEST) in streams
    assert (MODEL, f"{0:064x}") not in streams
    crowd = [seat(index, generation=1000, digest=f"{index:064x}") for index in range(100)]
    observed.run(crowd, 2, random)
    assert {(MODEL, one.digest) for one in crowd} <= set(observed.book.streams)


def test_states_are_kept_by_signal_and_bounded(observed: Observed, random: np.random.Generator) -> None:
    observed.run([seat()], 1, random)
    book: DriftBook = observed.book
    book.keep_state(MODEL, DIGEST, "inputs", b"one")
    book.keep_state(MODEL, DIGEST, "inputs", b"two")
    book.keep_state(MODEL, DIGEST, "season", b"three")
    assert book.state(MODEL, DIGEST, "inputs") == b"two"
    assert book.state(MODEL, DIGEST, "season") == b"three"
    assert book.state(MODEL, DIGEST, "other") is None
    assert book.state(MODEL, OTHER, "inputs") is None
    with pytest.raises(ValueError, match=r"state of inputs: expected at most .* bytes, got"):
        book.keep_state(MODEL, DIGEST, "inputs", bytes(STATE_BYTES_MAX + 1))
    for number in range(SIGNALS_MAX - 2):
        book.keep_state(MODEL, DIGEST, f"signal {number}", b"")
    with pytest.raises(ValueError, match=f"expected at most {SIGNALS_MAX} signals"):
        book.keep_state(MODEL, DIGEST, "one more", b"")


def test_readings_of_seats_that_hold_another_artifact_are_forgotten(
    observed: Observed, random: np.random.Generator
) -> None:
    for generation in range(1, 40):
        observed.run([seat(0, generation)], 1, random)
    (unsaved,) = [artifact.unsaved() for artifact in observed.book._artifacts.values()]
    assert [reading.source for reading in unsaved.readings] == [Source(0, 39)]
