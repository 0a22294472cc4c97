"""Which canaries' batches a loop stands still for, and how often it does for one that is not over in time."""

from __future__ import annotations

import pytest

from server.worker.brief_waits import CHANGES_NS, LITTLE_NS, MULTIPLE, PAUSE_MAX, PAUSE_MIN, SHORT_NS, BriefWaits

LONG_STABLE_NS = 10 * SHORT_NS


def waits_among(waits: BriefWaits, batches: int, *, over: bool) -> int:
    """How many of so many batches are waited for, all of which are over in time, or none."""
    count = 0
    for _ in range(batches):
        if waits.wait_ns(LITTLE_NS, LITTLE_NS) > 0:
            waits.waited(over=over)
            count += 1
        else:
            waits.not_waited()
    return count


@pytest.mark.parametrize(
    ("computing_ns", "stable_ns", "waits"),
    [
        (0, 1, False),  # of which nobody knows
        (1, 1, True),
        (LITTLE_NS, 0, True),
        (LITTLE_NS + 1, 0, False),
        (LITTLE_NS + 1, LITTLE_NS, True),
        (3 * LITTLE_NS, LITTLE_NS, True),
        (3 * LITTLE_NS + 1, LITTLE_NS, False),
        (SHORT_NS, LONG_STABLE_NS, True),
        (SHORT_NS + 1, LONG_STABLE_NS, False),
    ],
)
def test_one_is_waited_for_that_is_known_to_be_short_for_itself_and_beside_its_stable(
    computing_ns: int, stable_ns: int, waits: bool
) -> None:
    expected_ns = MULTIPLE * computing_ns + CHANGES_NS if waits else 0
    assert BriefWaits().wait_ns(computing_ns, stable_ns) == expected_ns


def test_to_ask_changes_nothing() -> None:
    waits = BriefWaits()
    waits.waited(over=False)
    assert [waits.wait_ns(1, 1) for _ in range(2 * PAUSE_MIN)] == [0] * (2 * PAUSE_MIN)


def test_those_that_are_over_in_time_are_all_waited_for() -> None:
    assert waits_among(BriefWaits(), 1000, over=True) == 1000


def test_one_that_never_is_over_in_time_is_waited_for_a_few_times_in_thousands() -> None:
    waits = BriefWaits()
    assert waits_among(waits, PAUSE_MIN + 1, over=False) == 1
    assert waits_among(waits, 2 * PAUSE_MIN + 1, over=False) == 1
    doublings = (PAUSE_MAX // PAUSE_MIN).bit_length() - 1
    assert waits_among(BriefWaits(), 2 * PAUSE_MAX, over=False) == doublings + 1
    assert waits_among(waits, 10 * PAUSE_MAX, over=False) <= doublings + 10


def test_one_that_is_over_in_time_again_is_trusted_by_and_by() -> None:
    waits = BriefWaits()
    for _ in range(5):
        waits.waited(over=False)  # the last pause is of 16 times PAUSE_MIN, the next one would be of 32 times
    assert waits_among(waits, 16 * PAUSE_MIN, over=True) == 0
    assert waits_among(waits, 1, over=True) == 1
    waits.waited(over=False)
    assert waits_among(waits, 30 * PAUSE_MIN, over=True) == 0
    assert waits_among(waits, 1000, over=True) == 1000
    waits.waited(over=False)
    assert waits_among(waits, PAUSE_MIN, over=True) == 0
    assert waits_among(waits, 1, over=True) == 1


@pytest.mark.parametrize(("late_in", "least", "most"), [(2, 0, 50), (20, 5_000, 10_000)])
def test_one_that_is_late_every_other_time_is_hardly_waited_for_and_one_that_seldom_is_nearly_always(
    late_in: int, least: int, most: int
) -> None:
    waits, waited = BriefWaits(), 0
    for _ in range(3):  # a bad moment before
        waits.waited(over=False)
    for _ in range(10_000):
        if waits.wait_ns(LITTLE_NS, LITTLE_NS) > 0:
            waited += 1
            waits.waited(over=waited % late_in != 0)
        else:
            waits.not_waited()
    assert least <= waited <= most
