"""Recorded traffic: every row has its turn, evenly spread; when it is played; and a failing server is counted."""

from __future__ import annotations

import asyncio
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.deploy import traffic
from pipelines.deploy.options import Play
from pipelines.deploy.traffic import Tally, calls_of, has_keys_enough, is_played, needed_per_s, order_of, play
from pipelines.examples import Examples
from tests.pipelines.deploy.deployed_world import examples
from tests.pipelines.deploy.planted_decisions import STEPS


@given(st.integers(1, 3000))
def test_the_order_takes_each_row_once(rows: int) -> None:
    assert sorted(order_of(rows).tolist()) == list(range(rows))


def test_any_stretch_of_the_order_has_rows_of_all_parts() -> None:
    tenths = order_of(10_000)[1234:2234] // 1000
    assert np.bincount(tenths, minlength=10).tolist() == pytest.approx([100] * 10, abs=10)


def test_calls_carry_every_row_under_its_key_before_any_comes_again() -> None:
    rows = 355  # 50 rounds of calls, and a fourth call that finds two rows left
    made = list(islice(calls_of(examples(rows), keyed=True), 205))
    sent = [row for call in made for row in call.inputs["features"].tolist()]
    assert sorted(sent[:rows]) == sorted(examples(rows).numbers.tolist())
    assert {call.rows for call in made} == {1, 2, 4}
    firsts = [call.key for call in made[:204]]
    assert len(set(firsts)) == len(firsts)
    assert all(call.key == "" for call in islice(calls_of(examples(rows), keyed=False), 10))


def test_a_model_of_texts_gets_them_beside_its_numbers() -> None:
    plain = examples(5)
    texts = np.array([[f"carrier-{number}"] for number in range(5)], dtype=object)
    call = next(calls_of(Examples(plain.numbers, texts, plain.labels, {}, plain.keys, plain.at_s), keyed=False))
    row = int(str(call.inputs["texts"][0, 0]).removeprefix("carrier-"))
    assert call.inputs["features"].tolist() == [plain.numbers[row].tolist()]


@pytest.mark.parametrize(
    ("mode", "seen", "played"),
    [("always", 1e6, True), ("never", 0.0, False), ("auto", 0.0, True), ("auto", 0.9, True), ("auto", 1.1, False)],
)
def test_traffic_is_played_where_the_server_has_none_of_its_own(
    mode: Play, seen: float, played: bool
) -> None:
    assert needed_per_s(STEPS, rows_per_s=1500) == 1200
    assert is_played(mode, seen, 1200) is played


def test_a_plan_needs_no_more_than_what_is_played_at_most() -> None:
    assert needed_per_s(STEPS, rows_per_s=300) == 300


def test_few_keys_are_not_played_as_keys() -> None:
    assert has_keys_enough(200_000, STEPS)
    assert not has_keys_enough(20_000, STEPS)


def test_calls_that_fail_are_counted_by_what_they_said_and_end_nothing() -> None:
    tally = Tally()

    async def for_a_while() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(play("127.0.0.1:1", "churn", examples(50), 500, tally, keyed=False), 1.5)

    asyncio.run(for_a_while())
    assert tally.calls == tally.failed > 0
    assert all(text.startswith("UNAVAILABLE") for text in tally.errors)


def test_texts_that_are_all_different_do_not_grow_without_end() -> None:
    tally = Tally()
    for number in range(1000):
        tally.note_error(f"row {number} is bad\n")
    assert tally.failed == 1000
    assert len(tally.errors) == traffic.ERROR_TEXTS_MAX + 1
