"""The windows' clock goes on, whatever is done to the machine's."""

from hypothesis import given
from hypothesis import strategies as st

from server.control.drift.window_clock import WindowClock
from tests.control.drift.counted_seats import MONDAY, SECOND, Clock

HOUR = 3600 * SECOND


@given(st.lists(st.tuples(st.integers(0, 60 * SECOND), st.integers(-(10**17), 10**17)), max_size=40))
def test_it_never_stands_nor_goes_back(moves: list[tuple[int, int]]) -> None:
    machine, clock, before = Clock(), WindowClock(), 0
    for step, jump in moves:
        machine.step(step)
        machine.jump(jump)
        at = clock.read(machine.at_utc_ns, machine.now_ns)
        assert at > before
        assert clock.ahead_ns == max(at - machine.at_utc_ns, 0)
        assert clock.steady_utc_ns() <= at
        before = at


def test_it_is_utc_as_long_as_utc_goes_on_and_follows_a_jump_forward() -> None:
    machine, clock = Clock(), WindowClock()
    for jump in (0, 0, HOUR, 0):
        machine.step(4 * SECOND)
        machine.jump(jump)
        assert clock.read(machine.at_utc_ns, machine.now_ns) == machine.at_utc_ns
        assert clock.ahead_ns == 0
    assert clock.steady_utc_ns() == machine.at_utc_ns - HOUR  # nothing is too old because of such a jump


def test_after_a_jump_back_it_goes_on_at_half_pace_until_utc_has_caught_up() -> None:
    machine, clock = Clock(), WindowClock()
    start = clock.read(machine.at_utc_ns, machine.now_ns)
    machine.jump(-HOUR)
    for minute in range(1, 120):
        machine.step(60 * SECOND)
        assert clock.read(machine.at_utc_ns, machine.now_ns) == start + minute * 30 * SECOND
        assert clock.ahead_ns == HOUR - minute * 30 * SECOND
    machine.step(120 * SECOND)
    assert clock.read(machine.at_utc_ns, machine.now_ns) == machine.at_utc_ns


def test_a_process_that_starts_before_the_end_of_what_is_kept_goes_on_from_there() -> None:
    clock = WindowClock(MONDAY + HOUR)
    assert clock.read(MONDAY, 5) == MONDAY + HOUR + 1
    assert clock.read(MONDAY + 2 * SECOND, 5 + 2 * SECOND) == MONDAY + HOUR + 1 + SECOND
