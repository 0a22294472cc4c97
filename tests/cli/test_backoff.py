"""Restarts: doubling delays up to a bound, and a fresh start for a child that was stable."""

from server.cli.backoff import DELAY_NS_MAX, FIRST_DELAY_NS, SECOND_NS, STABLE_AFTER_NS, Restarts


def delays(lives_ns: list[int]) -> list[int]:
    """The delay after each life of the given length, one child after the other."""
    now_ns, restarts, seen = 0, Restarts(), []
    for life_ns in lives_ns:
        restarts = restarts.started(now_ns)
        now_ns += life_ns
        restarts = restarts.ended(now_ns)
        seen.append(restarts.due_ns - now_ns)
        now_ns = restarts.due_ns
    return seen


def test_the_delay_doubles_from_a_tenth_of_a_second() -> None:
    assert delays([0, 0, 0]) == [SECOND_NS // 10, SECOND_NS // 5, SECOND_NS * 2 // 5]


def test_the_delay_never_exceeds_ten_seconds() -> None:
    assert delays([0] * 100)[-1] == DELAY_NS_MAX == 10 * SECOND_NS
    assert max(delays([0] * 100)) == DELAY_NS_MAX


def test_a_child_that_was_stable_starts_over() -> None:
    assert delays([0, 0, 0, STABLE_AFTER_NS, 0])[-2:] == [FIRST_DELAY_NS, 2 * FIRST_DELAY_NS]


def test_a_child_that_ended_just_before_it_was_stable_does_not() -> None:
    assert delays([0, 0, STABLE_AFTER_NS - 1])[-1] == 4 * FIRST_DELAY_NS


def test_the_first_start_is_due_at_once() -> None:
    assert Restarts().due_ns == 0
