"""Counts add up by epoch, whoever brings them in whatever order, and a wrong count is refused by name."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.judgement.evidence import COUNTED, PPM, SIGNALS, ArmCounts, EpochCounts, keyless, merged, since

WEIGHTS = {1: 10_000, 2: 50_000, 3: 0, 4: PPM}
arms = st.builds(ArmCounts, *[st.integers(0, 10**9)] * len(COUNTED))
epochs = st.integers(1, 4).flatmap(
    lambda epoch: st.builds(EpochCounts, st.just(epoch), st.just(WEIGHTS[epoch]), arms, arms)
)
parts = st.lists(st.lists(epochs, max_size=4), max_size=4)


@given(parts)
def test_the_order_in_which_workers_are_merged_is_no_matter(parts):
    assert merged(*parts) == merged(*reversed(parts))


@given(parts)
def test_merging_neither_loses_nor_invents_a_count(parts):
    together = merged(*parts)
    for arm, name in itertools.product(("stable", "canary"), COUNTED):
        single = sum(getattr(getattr(counts, arm), name) for part in parts for counts in part)
        assert sum(getattr(getattr(counts, arm), name) for counts in together) == single
    assert [counts.epoch for counts in together] == sorted({counts.epoch for part in parts for counts in part})


@given(parts, parts)
def test_what_came_since_a_burn_in_and_the_burn_in_add_up(burn_in, later):
    now = merged(*burn_in, *later)
    assert merged(merged(*burn_in), since(merged(*burn_in), now)) == now


def test_an_epoch_with_two_weights_is_refused():
    with pytest.raises(ValueError, match="canary_weight_ppm: expected 50000 as elsewhere in epoch 2, got 60000"):
        merged([EpochCounts(2, 50_000, ArmCounts(), ArmCounts())], [EpochCounts(2, 60_000, ArmCounts(), ArmCounts())])


def test_counts_that_shrink_are_refused():
    before = (EpochCounts(1, 50_000, ArmCounts(10), ArmCounts(5)),)
    with pytest.raises(ValueError, match="requests: expected a count of 0 or more, got -1"):
        since(before, (EpochCounts(1, 50_000, ArmCounts(9), ArmCounts(5)),))
    with pytest.raises(ValueError, match=re.escape("got none of [1]")):
        since(before, ())


@pytest.mark.parametrize("name", COUNTED)
def test_a_negative_count_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f"{name}: expected a count of 0 or more, got -3"):
        ArmCounts(**{name: -3})


@pytest.mark.parametrize("weight", [-1, PPM + 1])
def test_a_weight_outside_the_traffic_is_refused(weight):
    with pytest.raises(ValueError, match=f"expected 0 to 1000000 .all traffic., got {weight}"):
        EpochCounts(7, weight, ArmCounts(), ArmCounts())


def test_a_signal_that_is_not_counted_is_refused():
    with pytest.raises(KeyError, match="expected one of errors, non_finite, timeouts, got 'requests'"):
        ArmCounts(requests=1).events("requests")
    with pytest.raises(KeyError, match="expected one of errors, non_finite, timeouts, got 'units'"):
        ArmCounts(units=1).events_all("units")


def test_first_events_and_all_events_are_told_apart_and_without_keys_they_are_the_same():
    counts = ArmCounts(100, 1, 2, 3, 50, 10, 20, 30)
    assert [counts.events(name) for name in SIGNALS] == [1, 2, 3]
    assert [counts.events_all(name) for name in SIGNALS] == [10, 20, 30]
    assert keyless(100, 1, 2, 3) == ArmCounts(100, 1, 2, 3, 100, 1, 2, 3)
