"""Pairs: rows of a canary and of its stable, added up for each weight that stood."""

from __future__ import annotations

import numpy as np
import pytest

from native.plane.layout import DRIFT_BUCKETS
from native.plane.routes import SeatRef
from server.control.drift.pairs import WEIGHTS_MAX, BadPairs, PairReading, Pairs, PairSource, pairs_from_bytes

BINS = 4
HALF, TENTH = 500_000, 100_000


def counts(value: int) -> np.ndarray:
    return np.full((DRIFT_BUCKETS, BINS), value, dtype=np.int64)


def reading(canary: int, stable: int, *, weight: int = TENTH, epoch: int = 1, generation: int = 2) -> PairReading:
    source = PairSource(SeatRef(1, generation), SeatRef(0, 1), epoch)
    return PairReading(source, weight, counts(canary), counts(stable))


def test_what_is_counted_between_two_readings_belongs_to_their_weight() -> None:
    pairs = Pairs(BINS)
    for one in (reading(5, 50), reading(7, 80), reading(8, 90)):
        pairs.add(one)
    (epoch,) = pairs.epochs
    assert epoch.canary_weight_ppm == TENTH
    assert (epoch.canary == 3).all()
    assert (epoch.stable == 40).all()


def test_rows_of_the_moment_in_which_the_weight_moved_are_left_out() -> None:
    pairs = Pairs(BINS)
    for one in (reading(0, 0), reading(1, 10)):
        pairs.add(one)
    for one in (reading(9, 90, weight=HALF, epoch=2), reading(11, 92, weight=HALF, epoch=2)):
        pairs.add(one)
    tenth, half = pairs.epochs
    assert (int(tenth.canary.max()), int(tenth.stable.max())) == (1, 10)
    assert (half.canary_weight_ppm, int(half.canary.max()), int(half.stable.max())) == (HALF, 2, 2)


def test_a_weight_that_comes_again_goes_on() -> None:
    pairs = Pairs(BINS)
    pairs.add(reading(0, 0))
    pairs.add(reading(1, 10))
    pairs.add(reading(2, 11, weight=HALF, epoch=2))
    pairs.add(reading(2, 11, epoch=3))
    pairs.add(reading(5, 31, epoch=3))
    (tenth,) = pairs.epochs
    assert (int(tenth.canary.max()), int(tenth.stable.max())) == (4, 30)


def test_another_artifact_in_the_seat_begins_only() -> None:
    pairs = Pairs(BINS)
    pairs.add(reading(5, 5))
    pairs.add(reading(9, 9, generation=3))
    assert pairs.epochs == ()


def test_counters_that_begin_anew_do_not_count_backwards() -> None:
    pairs = Pairs(BINS)
    for one in (reading(50, 500), reading(3, 600)):
        pairs.add(one)
    (epoch,) = pairs.epochs
    assert (int(epoch.canary.max()), int(epoch.stable.max())) == (3, 100)


def test_weights_are_bounded() -> None:
    pairs = Pairs(BINS)
    for weight in range(1, WEIGHTS_MAX + 10):
        pairs.add(reading(weight, weight, weight=weight, epoch=weight))
        pairs.add(reading(weight + 1, weight + 1, weight=weight, epoch=weight))
    assert len(pairs.epochs) == WEIGHTS_MAX


def test_what_is_kept_comes_back_without_the_last_reading() -> None:
    pairs = Pairs(BINS)
    for one in (reading(0, 0), reading(1, 10)):
        pairs.add(one)
    for one in (reading(1, 10, weight=HALF, epoch=2), reading(4, 12, weight=HALF, epoch=2)):
        pairs.add(one)
    again = pairs_from_bytes(pairs.to_bytes(), BINS)
    assert [epoch.canary_weight_ppm for epoch in again.epochs] == [TENTH, HALF]
    for before, after in zip(pairs.epochs, again.epochs, strict=True):
        assert (before.canary == after.canary).all()
        assert (before.stable == after.stable).all()
    again.add(reading(1000, 1000, weight=HALF, epoch=2))
    assert int(again.epochs[1].canary.max()) == 3, "what was counted while nobody read is no evidence"
    assert pairs_from_bytes(Pairs(BINS).to_bytes(), BINS).epochs == ()


def test_bytes_that_are_something_else_are_refused() -> None:
    pairs = Pairs(BINS)
    pairs.add(reading(0, 0))
    pairs.add(reading(1, 10))
    whole = pairs.to_bytes()
    for bad in (b"", b"nonsense", whole[:-40], whole[:100]):
        with pytest.raises(BadPairs, match="Begin anew"):
            pairs_from_bytes(bad, BINS)
    with pytest.raises(BadPairs, match=r"canary: expected int64\[1, 16, 5\], got int64\[1, 16, 4\]"):
        pairs_from_bytes(whole, BINS + 1)
