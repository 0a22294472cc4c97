"""When a version served: intervals agree with what `roost journal show --at` answers, whatever the clock did."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_client.lineage.serving import Stay, about, moment, stays
from server.lifecycle.journal import Line, serving_at
from tests.registry_client.lineage.made_versions import place

A, B = ("1", "a" * 64), ("2", "b" * 64)
START = datetime(2026, 1, 31, 12, tzinfo=UTC)
PLACES = st.builds(
    lambda stable, canary, weight: place(stable, canary, weight if canary else 0),
    st.sampled_from([None, A, B]), st.sampled_from([None, A, B]), st.sampled_from([50_000, 250_000]),
)  # fmt: skip
MINUTES = st.integers(0, 30)


def at(minute: float) -> str:
    return (START + timedelta(minutes=minute)).isoformat()


def entry(minute: float, to: dict[str, Any], before: dict[str, Any] | None = None, kind: str = "x") -> dict[str, Any]:
    return {"model": "churn", "kind": kind, "at_utc": at(minute), "from": before or place(), "to": to}


def holds(stay: Stay, minute: float) -> bool:
    now = moment(at(minute))
    return moment(stay.since_utc) <= now and (stay.until_utc is None or now < moment(stay.until_utc))


@given(st.lists(st.tuples(MINUTES, PLACES), max_size=12))
def test_at_every_moment_the_intervals_say_what_the_journal_says(story: list[tuple[int, dict[str, Any]]]) -> None:
    entries = [entry(minute, to) for minute, to in story]
    lines = [Line(number, "", one) for number, one in enumerate(entries, 1)]
    found = stays(entries, A[1])
    for half in range(-1, 64):
        minute = half / 2
        answer = serving_at(lines, "churn", at(minute))
        then = {} if answer is None else answer["to"]
        for name in ("stable", "canary"):
            said = (then.get(name) or {}).get("digest") == A[1]
            holding = [stay for stay in found if stay.place == name and holds(stay, minute)]
            assert len(holding) == said, (minute, name)


def test_a_canarys_shares_are_told_in_their_order_and_it_stays_one_interval() -> None:
    entries = [
        entry(0, place(B)), entry(1, place(B, A, 50_000)), entry(2, place(B, A, 250_000)),
        entry(3, place(B, A, 250_000)), entry(4, place(A)),
    ]  # fmt: skip
    assert stays(entries, A[1]) == (
        Stay("canary", at(1), at(4), (50_000, 250_000)),
        Stay("stable", at(4), None),
    )


def test_what_came_home_and_comes_again_has_two_intervals() -> None:
    entries = [entry(0, place(A)), entry(1, place(B)), entry(2, place(A))]
    assert stays(entries, A[1]) == (Stay("stable", at(0), at(1)), Stay("stable", at(2), None))


def test_a_clock_that_was_set_back_leaves_what_was_decided_later() -> None:
    entries = [entry(10, place(A)), entry(5, place(B))]
    assert stays(entries, A[1]) == ()
    assert stays(entries, B[1]) == (Stay("stable", at(5), None),)


@pytest.mark.parametrize("at_utc", [None, 5, "noon", ""])
def test_what_is_no_time_is_refused(at_utc: object) -> None:
    with pytest.raises(ValueError, match="expected a time like 2026-01-31T14:03:00Z"):
        stays([{"at_utc": at_utc, "to": place(A)}], A[1])


@pytest.mark.parametrize("to", [None, 3, "stable", [], {"stable": 3}, {"stable": {"digest": 3}}, {"canary": None}])
def test_an_entry_that_says_nothing_puts_nothing_anywhere(to: object) -> None:
    assert stays([{"at_utc": at(0), "to": to}], A[1]) == ()
    assert about([{"at_utc": at(0), "from": to, "to": to, "kind": "started"}], A[1]) == ()


def test_a_stables_entries_are_not_those_of_canaries_beside_it() -> None:
    entries = [
        entry(0, place(A), kind="started"),
        entry(1, place(A, B, 50_000), place(A), kind="canary_started"),
        entry(2, place(A, B, 250_000), place(A, B, 50_000), kind="advanced"),
        entry(3, place(A, quarantine=[B[1]]), place(A, B, 250_000), kind="went_home"),
        entry(4, place(A, quarantine=[B[1]]), place(A, quarantine=[B[1]]), kind="incident"),
        entry(5, place(A), place(A, quarantine=[B[1]]), kind="released"),
    ]
    assert [one["kind"] for one in about(entries, A[1])] == ["started", "incident"]
    assert [one["kind"] for one in about(entries, B[1])] == ["canary_started", "advanced", "went_home", "released"]


def test_a_change_of_quarantine_that_was_too_long_is_found_by_its_short_form() -> None:
    change = {"added": ["b" * 64], "released": []}
    entries = [entry(0, place(A), place(A), kind="quarantined") | {"quarantine_change": change}]
    assert len(about(entries, B[1])) == 1
    assert about(entries, A[1]) == ()
