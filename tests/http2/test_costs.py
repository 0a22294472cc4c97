"""What a batch is expected to cost, after what it has cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.worker.costs import CostModel

ROWS = st.integers(1, 1 << 20)
COSTS_NS = st.integers(0, 10**12)


def test_nothing_is_expected_before_anything_was_measured() -> None:
    assert CostModel().predict_ns(1000) == 0


@given(rows=ROWS, cost_ns=COSTS_NS)
def test_the_first_measurement_is_believed(rows: int, cost_ns: int) -> None:
    costs = CostModel()
    costs.observe(rows, cost_ns)
    assert costs.predict_ns(rows) == cost_ns


@given(rows=ROWS, cost_ns=st.integers(1000, 10**12), ask=ROWS)
def test_more_rows_are_never_expected_to_cost_less_nor_more_than_in_proportion(
    rows: int, cost_ns: int, ask: int
) -> None:
    costs = CostModel()
    costs.observe(rows, cost_ns)
    expected_ns = costs.predict_ns(ask)
    assert expected_ns >= cost_ns or ask < rows
    # One estimate for each power of two: up to twice the rows on either side.
    assert expected_ns <= cost_ns * max(1, 4 * ask / rows)


def test_a_cost_that_changed_is_learned_within_a_few_batches() -> None:
    costs = CostModel()
    costs.observe(64, 10_000_000)
    for _ in range(20):
        costs.observe(64, 100_000)
    assert 100_000 <= costs.predict_ns(64) < 250_000


def test_one_hiccup_is_mostly_forgotten_by_the_next_ten_batches() -> None:
    costs = CostModel()
    for cost_ns in [100_000, 50_000_000, *[100_000] * 20]:
        costs.observe(64, cost_ns)
    assert costs.predict_ns(64) < 300_000


def test_doubt_leads_back_to_a_measurement() -> None:
    costs = CostModel()
    costs.observe(1, 10**10)
    for _ in range(40):
        costs.doubt(1)
    assert costs.predict_ns(1) < 2_000_000


def test_sizes_do_not_disturb_each_other_once_measured() -> None:
    costs = CostModel()
    costs.observe(1, 1000)
    costs.observe(1024, 1_000_000)
    costs.observe(1, 1000)
    assert costs.predict_ns(1024) == 1_000_000
    assert costs.predict_ns(1) == 1000
