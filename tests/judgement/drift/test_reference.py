"""What a reference merges, shares out and refuses."""

from __future__ import annotations

import numpy as np
import pytest

from server.judgement.drift.layout import Layout
from server.judgement.drift.psi import psi, shares
from server.judgement.drift.reference import TooFewRows, reference_of, rows_needed
from tests.judgement.drift.streams import reference


def made(counts, **more):
    return reference_of(["one"], np.array([0, len(counts)]), np.array(counts), **more)


def test_levels_that_the_reference_hardly_had_share_the_last_bin():
    one = made([100, 4, 5, 0, 900, 3])
    assert one.merged_bin.tolist() == [0, 3, 1, 3, 2, 3]
    assert one.counts.tolist() == [100, 5, 900, 7]
    assert one.merged(np.array([[1, 10, 2, 20, 3, 30], [0, 0, 0, 0, 0, 1]])).tolist() == [[1, 2, 3, 60], [0, 0, 0, 1]]


def test_a_missing_value_that_the_reference_never_had_is_seen_beside_a_large_other():
    """Bins: two codes, other (10 %), missing, non-finite. Added to other, 0 -> 2 % would be a PSI of 0.004."""
    one = made([60_000, 30_000, 10_000, 0, 0])
    window = one.merged(np.array([588, 294, 98, 20, 0]))
    seen = psi(shares(window, one.layout), shares(one.counts, one.layout), one.layout)[0]
    assert seen > 0.1


def test_every_feature_merges_by_itself():
    two = reference_of(["a", "b"], np.array([0, 3, 5]), np.array([50, 1, 1, 9, 9]))
    assert two.layout.offsets.tolist() == [0, 2, 4]
    assert two.merged(np.array([1, 2, 3, 4, 5])).tolist() == [1, 5, 4, 5]
    assert two.rows.tolist() == [52, 18]


def test_the_bet_follows_importance_where_all_of_it_is_known():
    assert reference(importance=[3.0, 1.0, 0.0]).weights.tolist() == [0.75, 0.25, 0.0]
    for unknown in (None, [1.0, None, 2.0], [0.0, 0.0, 0.0]):
        assert reference(importance=unknown).weights.tolist() == pytest.approx([1 / 3] * 3)


def test_a_reference_with_too_few_rows_is_refused_with_the_number_needed():
    assert rows_needed(np.array([2, 12]), 0.1).tolist() == [100, 1_100]
    small = made([60] * 12)
    with pytest.raises(TooFewRows) as refused:
        small.check_rows(0.1)
    assert str(refused.value) == (
        "reference of one: expected at least 1,100 rows for its 12 bins and tau = 0.1, got 720. "
        "Bundle the model with a larger reference, or raise tau"
    )
    small.check_rows(0.16)


def test_a_reference_is_worth_as_much_less_as_the_traffic_is_down_to_what_it_needs():
    one = made([1_000, 2_000, 5_000])
    assert one.effective_counts(np.array([4.0]), 0.1).tolist() == [250, 500, 1_250]
    assert one.effective_counts(np.array([1e6]), 0.1).sum() == pytest.approx(200)
    assert one.effective_counts(np.array([1e6]), 1e-6).tolist() == one.counts.tolist()
    known = made([1_000, 2_000, 5_000], independent_rows=True)
    learnt = one.with_counts(one.counts)
    for independent in (known, learnt):
        assert independent.effective_counts(np.array([4.0]), 0.1).tolist() == one.counts.tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"names": ["a"]}, "names: expected 2 of them, each once, got ['a']"),
        ({"names": ["a", "a"]}, "names: expected 2 of them, each once, got ['a', 'a']"),
        ({"counts": np.array([1, 2, 3])}, "counts: expected 4 numbers of at least 0, got shape (3,)"),
        ({"counts": np.array([1, 2, 3, -1])}, "counts: expected 4 numbers of at least 0"),
        ({"offsets": np.array([0, 4, 4])}, "offsets: expected whole numbers that increase from 0"),
        ({"offsets": np.array([1, 2, 4])}, "offsets: expected whole numbers that increase from 0"),
        ({"importance": [1.0]}, "importance: expected 2, one for each feature, got 1"),
        ({"importance": [1.0, -1.0]}, "importance: expected finite numbers of at least 0, got [1.0, -1.0]"),
        ({"importance": [1.0, float("nan")]}, "importance: expected finite numbers of at least 0"),
        ({"by_hour": np.zeros((24, 4), dtype=np.int64)}, "by_hour: expected shape (168, 4), got (24, 4)"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(change, said):
    given = {"names": ["a", "b"], "offsets": np.array([0, 2, 4]), "counts": np.array([5, 6, 7, 8]), **change}
    with pytest.raises(ValueError) as refused:
        reference_of(**given)
    assert said in str(refused.value)


def test_counts_of_other_bins_are_refused():
    with pytest.raises(ValueError, match="counts: expected 24 bins, those of the baseline, got an array of shape"):
        reference().merged(np.zeros((16, 23)))


def test_what_is_in_the_bins_does_not_change_which_bins_they_are():
    rng = np.random.default_rng(9)
    assert reference().digest == reference(rng=rng).digest
    assert reference().digest != reference(features=2).digest
    renamed = reference_of(["x"], np.array([0, 2]), np.array([9, 9]))
    assert renamed.digest != reference_of(["y"], np.array([0, 2]), np.array([9, 9])).digest


def test_a_layout_adds_up_by_feature_and_spreads_out_again():
    layout = Layout(np.array([0, 2, 5]))
    assert layout.sum(np.array([[1, 2, 3, 4, 5]])).tolist() == [[3, 12]]
    assert layout.spread(np.array([7, 8])).tolist() == [7, 7, 8, 8, 8]
