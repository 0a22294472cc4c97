"""The journal: no line can be changed unseen, a torn tail is mended, and it knows what served when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.lifecycle.journal import BrokenJournal, Head, next_line, read, repaired, serving_at, verify


def entry(number: int) -> dict[str, Any]:
    return {
        "model": "m",
        "revision": number,
        "kind": "promoted",
        "at_utc": f"2026-11-24T14:{number:02d}:00Z",
        "to": {"stable": {"version": str(number)}},
        "reason": "für alle",
    }


def journal(count: int) -> tuple[bytes, Head]:
    data, head = b"", Head()
    for number in range(1, count + 1):
        line, head = next_line(head, entry(number))
        data += line
    return data, head


DATA, HEAD = journal(6)
LINES = DATA.splitlines(keepends=True)


def test_a_whole_journal_is_verified_up_to_its_head() -> None:
    assert verify(DATA) == HEAD == Head(6, HEAD.digest)
    assert verify(DATA, HEAD) == HEAD
    assert verify(b"") == Head()
    assert [line.entry["revision"] for line in read(DATA)] == [1, 2, 3, 4, 5, 6]


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_any_byte_that_was_changed_is_found(position: int, change: int) -> None:
    changed = bytearray(DATA)
    changed[position] ^= change
    with pytest.raises(BrokenJournal):
        verify(bytes(changed), HEAD)


@pytest.mark.parametrize("index", range(6))
def test_a_line_that_was_removed_is_found(index: int) -> None:
    with pytest.raises(BrokenJournal):
        verify(b"".join(LINES[:index] + LINES[index + 1 :]), HEAD)


@pytest.mark.parametrize("index", range(5))
def test_lines_in_another_order_are_found(index: int) -> None:
    swapped = [*LINES[:index], LINES[index + 1], LINES[index], *LINES[index + 2 :]]
    with pytest.raises(BrokenJournal) as broken:
        verify(b"".join(swapped))
    assert broken.value.line == index + 1


def test_a_line_that_was_rewritten_with_a_new_digest_is_found_by_the_next_or_by_the_anchor() -> None:
    forged, _ = next_line(Head(3, verify(b"".join(LINES[:3])).digest), entry(9))
    with pytest.raises(BrokenJournal, match="line 5"):
        verify(b"".join([*LINES[:3], forged, *LINES[4:]]))
    last, _ = next_line(Head(5, verify(b"".join(LINES[:5])).digest), entry(9))
    with pytest.raises(BrokenJournal, match="anchor"):
        verify(b"".join([*LINES[:5], last]), HEAD)


def test_a_tail_that_is_missing_is_found_by_the_anchor_only() -> None:
    short = b"".join(LINES[:4])
    assert verify(short).number == 4
    with pytest.raises(BrokenJournal, match="expected 6 lines, as the anchor says, got 4"):
        verify(short, HEAD)


@pytest.mark.parametrize("cut", range(1, len(LINES[-1])))
def test_a_torn_tail_is_found_and_mended_and_nothing_else_is(cut: int) -> None:
    torn = DATA[:-cut]
    with pytest.raises(BrokenJournal, match="cut off"):
        verify(torn)
    mended, was_torn = repaired(torn)
    assert was_torn
    assert mended == b"".join(LINES[:5])
    assert repaired(DATA) == (DATA, False)


def test_another_spelling_of_a_line_is_found() -> None:
    with pytest.raises(BrokenJournal, match="another spelling"):
        verify(LINES[0].replace(b'{"digest"', b'{ "digest"'))


@pytest.mark.parametrize("value", [b"NaN", b"-Infinity", rb'"\ud800"', b"[" * 100_000, b"\xff", b"1,"])
def test_whatever_stands_in_a_line_it_is_a_broken_journal_and_no_other_error(value: bytes) -> None:
    with pytest.raises(BrokenJournal) as broken:
        verify(LINES[0] + LINES[1].replace(b'"revision":2', b'"revision":' + value))
    assert broken.value.line == 2


def test_it_knows_what_served_at_a_moment() -> None:
    lines = list(read(DATA))
    at = serving_at(lines, "m", "2026-11-24T14:03:30Z")
    assert at is not None
    assert at["to"]["stable"] == {"version": "3"}
    assert serving_at(lines, "m", "2026-11-24T13:59:59Z") is None
    assert serving_at(lines, "other", "2026-11-24T14:03:30Z") is None


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        ("2026-11-24T14:03:00Z", "3"),
        ("2026-11-24T14:02:59.999Z", "2"),
        ("2026-11-24T14:03:00", "3"),
        ("2026-11-24 14:03:30+00:00", "3"),
        ("2026-11-24T16:03:30+02:00", "3"),
    ],
)
def test_a_moment_may_be_written_as_people_write_it(asked: str, version: str) -> None:
    at = serving_at(read(DATA), "m", asked)
    assert at is not None
    assert at["to"]["stable"] == {"version": version}


def test_a_moment_within_the_second_of_a_decision_is_before_it() -> None:
    line, _ = next_line(HEAD, {**entry(7), "at_utc": "2026-11-24T14:07:00.500Z"})
    at = serving_at(read(DATA + line), "m", "2026-11-24T14:07:00Z")
    assert at is not None
    assert at["to"]["stable"] == {"version": "6"}


def test_a_moment_that_is_none_is_refused_with_an_example() -> None:
    with pytest.raises(ValueError, match="at_utc: expected a time like"):
        serving_at(read(DATA), "m", "yesterday")


def test_values_that_json_has_no_word_for_are_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        next_line(Head(), {"rate": float("nan")})
