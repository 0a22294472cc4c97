"""Whose shift is it: what both arms see is the population's, what only the canary shows is the model's."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.calibration.drift_pairs import PairWorld, first_model
from server.judgement.drift.canary import EpochPair, PairLimits, Whose, compare, log_split_e_values
from tests.judgement.drift.streams import BINS, EQUAL, TILTED, reference
from tests.oracles import drift as oracle


def pair(rng, canary=EQUAL, stable=EQUAL, rows=4_000, weight_ppm=250_000):
    on_canary = rows * weight_ppm // 1_000_000
    arms = []
    for count, shares in ((on_canary, canary), (rows - on_canary, stable)):
        blocks = rng.multinomial(count, np.full(16, 1 / 16))
        arms.append(np.concatenate([rng.multinomial(blocks, p) for p in (shares, EQUAL, EQUAL)], axis=1))
    return EpochPair(weight_ppm, *arms)


def test_a_shift_of_both_arms_is_not_the_model_s_and_one_of_the_canary_alone_is():
    rng, of = np.random.default_rng(1), reference()
    assert compare(of, [pair(rng)], PairLimits()).whose is Whose.SAME
    both = compare(of, [pair(rng, TILTED, TILTED)], PairLimits())
    assert both.whose is Whose.SAME
    assert both.why == "The canary does as the stable beside it. What both show is the population's."
    alone = compare(of, [pair(rng, TILTED)], PairLimits())
    assert alone.whose is Whose.MODEL
    assert alone.moved == ("feature 0",)
    assert alone.why.startswith("Only the canary shows it, so it is the model's: feature 0 (PSI 0.")
    assert json.dumps(alone.to_dict(), allow_nan=False)


def test_a_population_that_moves_while_weights_change_is_no_model_s_shift():
    """All weights in one sum would show a canary that had more of the later rows."""
    rng, of = np.random.default_rng(2), reference()
    epochs = [pair(rng, weight_ppm=50_000), pair(rng, TILTED, TILTED, weight_ppm=500_000)]
    assert compare(of, epochs, PairLimits()).whose is Whose.SAME
    one = EpochPair(275_000, epochs[0].canary + epochs[1].canary, epochs[0].stable + epochs[1].stable)
    assert compare(of, [one], PairLimits(tau=0.01)).whose is Whose.MODEL


def test_weights_share_the_bet_and_what_is_not_spent_yet_stays():
    """1/2 on the first, 1/6 on the second, and a third kept: whatever the same keys do under both."""
    rng, of = np.random.default_rng(8), reference(features=1)
    narrow = np.s_[:, :BINS]
    first, second = (
        EpochPair(one.canary_weight_ppm, one.canary[narrow], one.stable[narrow])
        for one in (pair(rng, weight_ppm=100_000), pair(rng, TILTED, weight_ppm=300_000))
    )
    alone = [math.exp(compare(of, [one], PairLimits()).log_e) * 2 - 1 for one in (first, second)]
    together = compare(of, [first, second], PairLimits()).log_e
    assert together == pytest.approx(math.log(alone[0] / 2 + alone[1] / 6 + 1 / 3))


def test_a_large_difference_that_may_be_chance_is_not_the_model_s_yet():
    found = compare(reference(), [pair(np.random.default_rng(1), TILTED)], PairLimits(alpha=1e-60))
    assert found.moved == ("feature 0",)
    assert found.whose is Whose.SAME


def test_a_difference_too_small_to_matter_is_told_and_not_called_the_model_s():
    rng, of = np.random.default_rng(3), reference()
    small = EQUAL * np.repeat([0.8, 1.2], BINS // 2)
    found = compare(of, [pair(rng, small, rows=40_000)], PairLimits())
    assert found.whose is Whose.SAME
    assert found.log_e > math.log(100)
    most = max(found.features, key=lambda feature: feature.psi0)
    assert found.why == (
        "The canary differs from the stable beside it, but not surely by a PSI of more than 0.1: "
        f"{most.name} by {most.psi0:.2g}, give or take {most.standard_error:.2g}."
    )


def test_the_bet_on_the_split_is_the_ratio_of_its_formula():
    of = reference(features=1)
    canary, stable = [3, 0, 1, 0, 2, 0, 0, 1], [9, 4, 2, 5, 0, 7, 1, 3]
    found = log_split_e_values(np.array(canary, dtype=float), np.array(stable, dtype=float), 0.25, of)
    assert found[0] == pytest.approx(math.log(oracle.split_e_value(canary, stable, Fraction(1, 4))), abs=1e-9)


@pytest.mark.parametrize("share", [0.25, 0.4])
def test_no_stopping_time_makes_arms_that_are_alike_look_different(share):
    """Ten rows in two bins, each the canary's with one chance: the best moment to stop gains nothing."""
    of = reference(features=1)

    def e_value(course):
        counts = np.zeros((2, BINS))
        for row, on_canary in enumerate(course):
            counts[1 - on_canary, row % 2] += 1
        return math.exp(float(log_split_e_values(counts[0], counts[1], 0.25, of)[0]))

    def worth(course):
        here = e_value(course) if course else 1.0
        if len(course) == 9:
            return here
        return max(here, share * worth((*course, 1)) + (1 - share) * worth((*course, 0)))

    assert worth(()) <= 1 + 1e-9


def test_a_share_taken_for_the_weight_where_it_is_none_would_be_found_out():
    """Why the null has the share that fits best: calls are shed, and a weight is met on average."""
    worth = 0.0
    for course in itertools.product((0, 1), repeat=9):
        k = [sum(course[::2]), sum(course[1::2])]
        n = [5, 4]
        chance = 0.4 ** sum(k) * 0.6 ** (9 - sum(k))
        bet = float(
            sum(
                (
                    oracle.dirichlet_multinomial((k[0], n[0] - k[0]), (Fraction(c, 4), Fraction(3 * c, 4)))
                    * oracle.dirichlet_multinomial((k[1], n[1] - k[1]), (Fraction(c, 4), Fraction(3 * c, 4)))
                    for c in (30, 100, 300, 1000)
                ),
                Fraction(0),
            )
            / 4
        )
        worth += chance * bet / (0.25 ** sum(k) * 0.75 ** (9 - sum(k)))
    assert worth > 1


def test_keys_that_come_again_bring_nothing_new():
    """20 keys, each with a score of its own, on either arm: a thousand times their rows are no more evidence."""
    rng, of = np.random.default_rng(5), reference(features=1)
    once = np.zeros((2, 16, BINS), dtype=np.int64)
    for _ in range(20):
        once[rng.integers(0, 2), rng.integers(0, 16), rng.integers(0, BINS)] += 10
    few, many = (
        compare(of, [EpochPair(500_000, *(times * once))], PairLimits(tau=1e-6, rows_min=10)) for times in (1, 1000)
    )
    assert many.whose is Whose.SAME
    assert many.log_e == pytest.approx(few.log_e, abs=0.5)


@pytest.mark.parametrize("world", [PairWorld(), PairWorld(population=1.0), PairWorld(keys=2_000, zipf=1.1)])
def test_rollouts_whose_model_is_no_different_are_hardly_ever_called_the_model_s(world):
    limits = PairLimits(tau=1e-6, z=0.0)
    assert sum(first_model(world, np.random.default_rng([3, n]), 30, limits) >= 0 for n in range(20)) <= 1


def test_a_canary_that_predicts_otherwise_is_found():
    found = [first_model(PairWorld(sigmas=1.0), np.random.default_rng(n), 30, PairLimits()) for n in range(10)]
    assert all(0 < rows <= 15_000 for rows in found)


@pytest.mark.parametrize("weight_ppm", [0, 1_000_000])
def test_a_weight_of_nothing_or_all_says_nothing(weight_ppm):
    rng, of = np.random.default_rng(6), reference()
    half = pair(rng, TILTED, weight_ppm=500_000)
    found = compare(of, [EpochPair(weight_ppm, half.canary, half.stable)], PairLimits())
    assert found.whose is Whose.NOT_ENOUGH
    assert found.why == "No weight has stood under which both arms have 100 rows of several keys."
    assert (found.log_e, found.features) == (0.0, ())


def test_few_rows_or_one_key_are_not_enough():
    rng, of = np.random.default_rng(7), reference()
    few = pair(rng, TILTED, rows=200)
    assert compare(of, [few], PairLimits()).whose is Whose.NOT_ENOUGH
    one_key = EpochPair(500_000, few.canary.sum(axis=0)[None] * 9, few.stable.sum(axis=0)[None] * 9)
    assert compare(of, [one_key], PairLimits()).whose is Whose.NOT_ENOUGH
    assert compare(of, [], PairLimits()).whose is Whose.NOT_ENOUGH


def test_pairs_and_limits_that_make_no_sense_are_refused():
    counts = np.ones((16, 24), dtype=np.int64)
    for arguments, said in (
        ((-1, counts, counts), "canary_weight_ppm: expected 0 to 1000000 (all traffic), got -1"),
        ((1, counts, counts[:, 1:]), "canary, stable: expected blocks by bins of one shape, got (16, 24) and (16, 23)"),
        ((1, -counts, counts), "canary: expected counts of at least 0, got -1"),
    ):
        with pytest.raises(ValueError) as refused:
            EpochPair(*arguments)
        assert said in str(refused.value)
    for change, said in (
        ({"alpha": 0.0}, "alpha: expected a chance above 0 and below 1, got 0.0"),
        ({"tau": 0.0}, "tau: expected a PSI above 0, got 0.0"),
        ({"z": 11.0}, "z: expected 0 to 10 standard errors, got 11.0"),
        ({"false_discoveries": 0.0}, "false_discoveries: expected a share above 0 and below 1, got 0.0"),
        ({"rows_min": 0}, "rows_min: expected 1 row or more, got 0"),
    ):
        with pytest.raises(ValueError) as refused:
            PairLimits(**change)
        assert said in str(refused.value)
