"""Each formula is what the published one says, word by word, against slow oracles in plain Python."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.judgement.drift.dispersion import estimate, larger, nothing_learnt
from server.judgement.drift.e_values import e_bh, log_e_values, log_mean_exp, log_rising, log_weighted_mean
from server.judgement.drift.layout import Layout
from server.judgement.drift.psi import Band, band, debiased, psi, shares, standard_error
from server.judgement.drift.reference import reference_of
from tests.oracles import drift as oracle

COUNTS = st.one_of(st.integers(0, 6), st.integers(0, 10**4), st.integers(0, 10**12))


@st.composite
def pairs(draw, counts=COUNTS):
    """Features with a window's and the reference's counts, at least a row of each."""
    features = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
    flat = [draw(st.lists(counts, min_size=2 * width, max_size=2 * width)) for width in features]
    window = [[*counts[: len(counts) // 2 - 1], counts[len(counts) // 2 - 1] + 1] for counts in flat]
    reference = [[counts[len(counts) // 2] + 1, *counts[len(counts) // 2 + 1 :]] for counts in flat]
    return window, reference


def layout_of(features):
    return Layout(np.concatenate([[0], np.cumsum([len(feature) for feature in features])]))


def flat(features):
    return np.array([count for feature in features for count in feature], dtype=np.float64)


@given(pairs(), st.floats(1, 100))
def test_psi_its_bias_and_its_error_are_what_the_formulas_say(pair, phi):
    window, reference = pair
    layout = layout_of(window)
    m, r = flat(window), flat(reference)
    p, q = shares(m, layout), shares(r, layout)
    value = psi(p, q, layout)
    effective = layout.sum(m) / phi
    unbiased = debiased(value, layout, effective, layout.sum(r))
    error = standard_error(p, q, layout, effective, layout.sum(r))
    for f, (ours, theirs) in enumerate(zip(window, reference, strict=True)):
        assert value[f] == pytest.approx(oracle.psi(ours, theirs), rel=1e-9, abs=1e-9)
        assert unbiased[f] == pytest.approx(oracle.debiased(ours, theirs, phi), rel=1e-9, abs=1e-9)
        assert error[f] == pytest.approx(oracle.standard_error(ours, theirs, phi), rel=1e-6, abs=1e-9)


@st.composite
def batches(draw):
    """Codes and missing values, in batches of any size, of a feature whose reference has rare and missing levels."""
    reference = draw(st.lists(st.one_of(st.just(0), st.integers(0, 9), st.integers(5, 10**6)), min_size=3, max_size=9))
    reference[0] += 5
    values = draw(st.lists(st.integers(0, len(reference) - 1), min_size=1, max_size=200))
    cuts = sorted(draw(st.lists(st.integers(0, len(values)), max_size=5)))
    return reference, values, [0, *cuts, len(values)]


@given(batches(), st.integers(1, 4))
def test_streaming_psi_equals_the_plain_one_over_the_same_rows_however_they_came(batch, workers):
    reference, values, cuts = batch
    bins = len(reference)
    counted = np.zeros((workers, bins), dtype=np.int64)
    for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
        counted[number % workers] += np.bincount(values[start:stop], minlength=bins)
    made = reference_of(["one"], np.array([0, bins]), np.array(reference))
    window = made.merged(counted.sum(axis=0))
    plain = oracle.merged([values.count(level) for level in range(bins)], reference)
    assert window.tolist() == plain
    value = psi(shares(window, made.layout), shares(made.counts, made.layout), made.layout)
    assert value[0] == pytest.approx(oracle.psi(plain, oracle.merged(reference, reference)), rel=1e-9, abs=1e-9)


@given(st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), min_size=1, max_size=8))
def test_phi_is_how_far_shares_change_when_each_block_is_left_out(blocks):
    found = estimate(np.array(blocks, dtype=np.float64), Layout(np.array([0, 4])))
    expected = oracle.phi(blocks)
    if expected is None:
        assert math.isnan(found.phi[0])
        assert found.degrees[0] == 0
    else:
        assert found.phi[0] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_for_blocks_of_one_size_phi_is_rao_and_scott_s():
    rng = np.random.default_rng(5)
    blocks = rng.multinomial(50, np.full(6, 1 / 6), size=16).astype(np.float64)
    expected = blocks.sum(axis=0) / 16
    chi2 = ((blocks - expected) ** 2 / expected).sum()
    assert estimate(blocks, Layout(np.array([0, 6]))).phi[0] == pytest.approx(chi2 / (15 * 5))


@pytest.mark.parametrize("cluster", [1, 10])
@pytest.mark.parametrize("rows", [100, 1_000])
def test_phi_finds_how_many_rows_are_alike(cluster, rows):
    rng = np.random.default_rng(7)
    layout = Layout(np.array([0, 10]))
    found = []
    for _ in range(200):
        keys = rng.multinomial(rows // cluster, np.full(16, 1 / 16))
        found.append(estimate(cluster * rng.multinomial(keys, np.full(10, 0.1)).astype(np.float64), layout).phi[0])
    assert np.mean(found) == pytest.approx(cluster, rel=0.2 if rows == 100 else 0.05)


def test_a_key_with_most_of_the_rows_leaves_few_that_are_worth_something():
    """By X2 alone 16 blocks can't be worth fewer than 15 rows: the one block makes the shares it is compared with."""
    blocks = np.tile([1.0, 1.0, 1.0, 1.0], (16, 1))
    blocks[0] = [800.0, 0.0, 0.0, 0.0]
    phi = float(estimate(blocks, Layout(np.array([0, 4]))).phi[0])
    assert blocks.sum() / phi < 2


def test_one_block_or_one_bin_says_nothing_of_dependence():
    layout = Layout(np.array([0, 3]))
    one_block = np.array([[3.0, 4.0, 5.0], [0.0, 0.0, 0.0]])
    one_bin = np.array([[3.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    for blocks in (one_block, one_bin):
        found = estimate(blocks, layout)
        assert math.isnan(found.phi[0])
        assert nothing_learnt(1).learnt(found).windows[0] == 0
        assert nothing_learnt(1).used(found)[0] == 1


def test_rows_are_never_worth_more_than_they_are():
    """Blocks that are more alike than chance makes them, as slices of a fixed rhythm are."""
    alike = estimate(np.full((16, 4), 25.0), Layout(np.array([0, 4])))
    assert alike.phi[0] == pytest.approx(0.0)
    known = nothing_learnt(1)
    assert known.used(alike)[0] == known.learnt(alike).used(alike)[0] == 1.0


def test_of_two_splits_the_larger_phi_counts_and_an_unknown_one_never():
    layout = Layout(np.array([0, 2]))
    alike = estimate(np.array([[5.0, 5.0], [5.0, 5.0]]), layout)
    apart = estimate(np.array([[10.0, 0.0], [0.0, 10.0]]), layout)
    unknown = estimate(np.array([[10.0, 10.0]]), layout)
    for one, other in ((alike, apart), (apart, alike), (apart, unknown), (unknown, apart)):
        assert larger(one, other).phi[0] == apart.phi[0] > 1


def test_phi_is_smoothed_and_a_burst_counts_at_once():
    layout = Layout(np.array([0, 4]))
    rng = np.random.default_rng(3)
    known = nothing_learnt(1)
    quiet = [estimate(rng.multinomial(60, np.full(4, 0.25), size=16).astype(float), layout) for _ in range(30)]
    for one in quiet:
        known = known.learnt(one)
    assert known.mean[0] == pytest.approx(np.mean([one.phi[0] for one in quiet]))
    assert known.used(quiet[0])[0] == max(1.0, known.mean[0])
    burst = estimate(20.0 * rng.multinomial(3, np.full(4, 0.25), size=16), layout)
    assert known.used(burst)[0] == burst.phi[0] > 10


@given(st.floats(1e-7, 1e7), st.integers(0, 300))
def test_the_rising_factorial_is_a_product(a, m):
    expected = oracle.log_rising(a, m)
    assert float(log_rising(np.array(a), np.array(float(m)))) == pytest.approx(expected, rel=1e-13, abs=1e-12 * (m + 1))


@given(st.floats(1e-3, 50), st.floats(0, 200))
def test_the_rising_factorial_of_no_whole_number_is_lgamma_s(a, m):
    expected = math.lgamma(a + m) - math.lgamma(a)
    assert float(log_rising(np.array(a), np.array(m))) == pytest.approx(expected, rel=1e-11, abs=1e-11)


def test_large_arguments_lose_nothing_where_lgamma_does():
    """ln of 1e12 (1e12 + 1): lgamma of it is 2.7e13, whose last digit is 0.004."""
    exact = 2 * math.log(1e12) + math.log1p(1e-12)
    assert float(log_rising(np.array(1e12), np.array(2.0))) == pytest.approx(exact, abs=1e-9)
    assert abs(math.lgamma(1e12 + 2) - math.lgamma(1e12) - exact) > 1e-5


@settings(max_examples=50)
@given(pairs(st.integers(0, 12)))
def test_an_e_value_is_the_ratio_of_two_dirichlet_multinomials(pair):
    window, reference = pair
    found = log_e_values(flat(window), flat(reference), layout_of(window))
    for f, (ours, theirs) in enumerate(zip(window, reference, strict=True)):
        exact = oracle.e_value(ours, theirs)
        expected = math.log(exact.numerator) - math.log(exact.denominator)
        assert found[f] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(pairs())
def test_no_count_makes_an_e_value_that_is_no_number(pair):
    window, reference = pair
    assert np.isfinite(log_e_values(flat(window), flat(reference), layout_of(window))).all()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.sampled_from([0.05, 0.1, 0.5]))
def test_e_bh_names_the_k_largest_for_the_largest_k_that_holds(e, rate):
    limits = [len(e) / (rate * k) for k in range(1, len(e) + 1)]
    # A value that is a limit to the last digit may fall on either side of it, since one takes logarithms.
    assume(not any(math.isclose(value, limit, rel_tol=1e-9) for value in e for limit in limits))
    assert e_bh(np.log(np.maximum(e, 1e-300)), rate).tolist() == oracle.e_bh(e, rate)


def test_a_weighted_mean_leaves_out_what_weighs_nothing():
    assert log_weighted_mean(np.log([2.0, 5.0, 1e300]), np.array([0.5, 0.5, 0.0])) == pytest.approx(math.log(3.5))
    assert log_weighted_mean(np.array([2000.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(2000 - math.log(2))
    assert log_mean_exp(np.array([[1e6], [1e6 - 900]]), axis=0)[0] == pytest.approx(1e6 - math.log(2))


@pytest.mark.parametrize(
    ("value", "called"),
    [(0.0999, Band.STABLE), (0.1, Band.MODERATE), (0.1999, Band.MODERATE), (0.2, Band.LARGE)],
)
def test_bands_begin_where_the_rules_of_thumb_say(value, called):
    assert band(value) is called
