"""The calibration keeps the judge's own promises, notices one that is broken, and simulates what it says it does."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from benchmarks import calibrate
from benchmarks.calibration.outcomes import first, lets_pass, outcome, says_worse
from benchmarks.calibration.promises import (
    FAILS_FOR_HEAVY_KEYS,
    FAILS_FOR_ONE_KEY_IN_100,
    TOO_BAD_BY_KEY,
    Asked,
    Question,
    answered,
    binomial_quantile,
    questions,
)
from benchmarks.calibration.worlds import (
    PRIOR_RATES,
    Blocks,
    FirstEventsAmongRequests,
    Independent,
    Keyed,
    seen_keyless,
)
from server.judgement.evidence import ArmCounts, EpochCounts, keyless
from server.judgement.policy import Policy
from server.judgement.verdicts import Verdict, judge

MARGIN_PASSED = Independent(canary=tuple(1.3 * rate for rate in PRIOR_RATES))


def answer(world, *, policy=None, asked=Asked.FALSE_ROLLBACK, rollouts=200, requests=200_000, **more):
    question = Question("one", asked, world, policy or Policy(), **more)
    return answered([question], rollouts, requests, None)[0]


def test_a_quick_calibration_keeps_every_promise_and_writes_what_it_found(tmp_path, capsys):
    out = tmp_path / "calibration.json"
    assert calibrate.main(["--quick", "--only", "rollouts", "--out", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["passed"] is True
    assert len(found["answers"]) == len(questions())
    assert "BROKEN" not in capsys.readouterr().out


def test_a_broken_promise_ends_the_calibration_with_an_error(tmp_path, capsys, monkeypatch):
    loose = Question("a loose judge", Asked.FALSE_ROLLBACK, MARGIN_PASSED, Policy(alpha=0.6, margin_worse=1.0))
    monkeypatch.setattr(calibrate, "questions", lambda: [loose])
    assert calibrate.main(["--quick", "--only", "rollouts", "--out", str(tmp_path / "calibration.json")]) == 1
    assert "BROKEN: Canaries that are no worse: rolled back: a loose judge" in capsys.readouterr().out


@pytest.mark.parametrize(
    "policy", [Policy(alpha=0.3), Policy(margin_worse=1.0, alpha=0.15)], ids=["alpha", "alpha and margin"]
)
def test_a_judge_that_is_too_eager_is_found_out(policy):
    assert answer(MARGIN_PASSED, policy=policy, requests=500_000).kept is False


def test_a_judge_that_lets_pass_too_early_is_found_out():
    world = Independent((0.0008, 0.0, 0.0), (0.001, 0.0, 0.0), weights=((0.0, 500_000),))
    assert answer(world, policy=Policy(beta=0.5), asked=Asked.FALSE_PASS, rollouts=50).kept is False


def test_a_z_test_that_is_repeated_is_found_out():
    assert answer(Independent(), by_z_test=True).kept is False


@pytest.mark.parametrize(
    ("world", "asked"),
    [(Independent(), Asked.CONTROL), (Independent(canary=(0.02, 0.0, 0.0)), Asked.CONTROL_PASS)],
    ids=["no worse and stays", "too bad and does not pass"],
)
def test_a_control_that_does_not_fail_is_an_alarm_of_its_own(world, asked):
    assert answer(world, asked=asked).kept is False


@pytest.mark.parametrize("world", [world for _, world in TOO_BAD_BY_KEY], ids=[name for name, _ in TOO_BAD_BY_KEY])
def test_a_canary_that_fails_for_some_keys_is_let_pass_where_their_first_events_meet_all_requests(world):
    """The judge that only knows keys' first events and the number of requests is found out; the one that is, is not."""
    old = answer(FirstEventsAmongRequests(world), asked=Asked.FALSE_PASS, rollouts=50)
    assert old.kept is False
    assert old.happened > 40
    assert answer(world, asked=Asked.FALSE_PASS, rollouts=50).happened == 0


@pytest.mark.parametrize(
    ("world", "without"),
    [
        (FAILS_FOR_HEAVY_KEYS, lambda seen: replace(seen, canary_events_all=seen.canary_events.sum(axis=-1))),
        (FAILS_FOR_ONE_KEY_IN_100, lambda seen: replace(seen, canary_units=seen.canary_requests)),
    ],
    ids=["without each event", "without units"],
)
def test_rates_by_units_and_by_requests_are_both_needed(world, without):
    seen = world(np.random.default_rng(7), 20, 1_000_000)
    assert (outcome(Policy(), without(seen)).passed_requests >= 0).sum() > binomial_quantile(20, Policy().beta)
    assert (outcome(Policy(), seen).passed_requests >= 0).sum() == 0


def test_a_good_canary_of_many_keys_passes_and_one_of_few_keys_never_by_its_requests():
    good = {"weight_ppm": 500_000, "failing_share": 0.0, "other_rate": 0.0}
    many, few = (Keyed(keys=keys, **good)(np.random.default_rng(7), 5, 200_000) for keys in (20_000, 2_000))
    assert (outcome(Policy(), many).passed_requests >= 0).all()
    assert (outcome(Policy(), few).passed_requests < 0).all()
    assert (few.canary_requests[:, -1] > 50_000).all()


def test_what_is_seen_of_keys_is_what_they_did():
    """No more units than keys or requests, no first event without an event, and of two keys one on each side."""
    seen = Keyed(keys=50, failing_share=0.5)(np.random.default_rng(3), 20, 20_000)
    first = seen.canary_events.sum(axis=-1)
    assert (first <= seen.canary_events_all).all()
    assert first[:, -1].max() < seen.canary_events_all[:, -1].max()
    assert (first[..., 0] <= 50).all()
    assert (seen.canary_units <= np.minimum(50, seen.canary_requests)).all()
    assert (seen.canary_events_all[..., 0] <= seen.canary_requests).all()


def test_a_verdict_that_comes_too_late_is_found_out():
    slow = Independent(canary=(0.002, *PRIOR_RATES[1:]))
    assert answer(slow, asked=Asked.FOUND, rollouts=20, median_max=15_000).kept is False


def test_many_looks_at_once_say_what_the_judge_says_at_each():
    policy = Policy()
    stable, canary, weights = (0.004, 0.0, 0.001), (0.02, 0.002, 0.001), ((0.0, 50_000), (0.4, 250_000))
    world = Independent(stable, canary, weights=weights, swing=10.0, wave_requests=5_000)
    seen = world(np.random.default_rng(3), 4, 30_000)
    worse, passing = says_worse(policy, seen), lets_pass(policy, seen)
    verdicts = set()
    for rollout, look in np.ndindex(*seen.requests.shape):
        canary, events = seen.canary_events[rollout, look], seen.events[rollout, look]
        evidence = [
            EpochCounts(epoch, weight, keyless(0, *(events - canary)[:, epoch]), keyless(0, *canary[:, epoch]))
            for epoch, weight in enumerate(seen.weights_ppm)
        ]
        requests = keyless(int(seen.canary_requests[rollout, look]))
        evidence.append(EpochCounts(9, seen.weights_ppm[0], ArmCounts(), requests))
        verdict = judge(tuple(evidence), policy).verdict
        verdicts.add(verdict)
        assert passing[rollout, look] == (verdict is Verdict.NOT_WORSE) or verdict is Verdict.WORSE
        if first(worse)[rollout] in (-1, look) or first(worse)[rollout] > look:
            assert worse[rollout, look] == (verdict is Verdict.WORSE)
    assert {Verdict.WORSE, Verdict.WAIT} <= verdicts


def test_whatever_comes_first_ends_a_rollout():
    seen = Independent((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))(np.random.default_rng(0), 3, 200_000)
    became = outcome(Policy(), seen)
    assert (became.worse_requests == -1).all()
    assert (became.passed_canary_requests > 3_000).all()


def by_look(canary_errors, canary_requests):
    """One rollout at weight 50 %, without an event of the stable's."""
    events = np.zeros((1, len(canary_errors), 3, 1), dtype=np.int64)
    events[0, :, 0, 0] = canary_errors
    requests = np.array([canary_requests])
    return seen_keyless((500_000,), events, events, requests, 2 * requests)


@pytest.mark.parametrize(
    ("canary_errors", "canary_requests", "worse", "passed"),
    [((0, 0, 20), (100, 9_000, 9_500), -1, 18_000), ((0, 20, 20), (100, 200, 90_000_000), 400, -1)],
    ids=["passed, then bad", "bad, then outnumbered"],
)
def test_a_verdict_after_the_first_is_none(canary_errors, canary_requests, worse, passed):
    became = outcome(Policy(), by_look(canary_errors, canary_requests))
    assert became.worse_requests.tolist() == [worse]
    assert became.passed_requests.tolist() == [passed]


def test_the_least_number_of_requests_holds_in_the_calibration_too():
    seen = by_look((0, 0), (9_000, 20_000))
    assert lets_pass(Policy(canary_requests_min=10_000), seen).tolist() == [[False, True]]


@pytest.mark.parametrize(
    "world",
    [Independent(), Independent(swing=10.0, weights=((0.0, 10_000), (0.5, 500_000))), Keyed(), Blocks(workers=2)],
    ids=["independent", "moving", "keyed", "blocks"],
)
def test_a_world_is_the_same_for_the_same_seed_and_its_counts_only_grow(world):
    one, again = (world(np.random.default_rng(5), 3, 50_000) for _ in range(2))
    for name in (field.name for field in fields(one) if field.name != "weights_ppm"):
        assert (getattr(one, name) == getattr(again, name)).all()
        assert (np.diff(getattr(one, name), axis=1) >= 0).all()
    assert (one.canary_events <= one.events).all()
    assert (one.canary_requests <= one.requests).all()


def test_shuffled_blocks_hold_their_share_and_know_no_period():
    seen = Blocks(period=True, rate=0.05, canary_rate=0.05)(np.random.default_rng(2), 40, 100_000)
    # Every block's end is exact, so that a look is off by one block at most.
    assert (abs(seen.canary_requests - 0.05 * seen.requests) <= 5).all()
    share = seen.canary_events[:, -1, 0, 0].sum() / seen.events[:, -1, 0, 0].sum()
    assert share == pytest.approx(0.05, abs=0.002)


def test_a_period_meets_a_fixed_rhythm_with_all_its_errors_or_none():
    seen = Blocks(period=True, shuffled=False, rate=0.05, canary_rate=0.05)(np.random.default_rng(2), 40, 10_000)
    shares = seen.canary_events[:, -1, 0, 0] / seen.events[:, -1, 0, 0]
    assert set(shares.tolist()) <= {0.0, 1.0}


def test_the_binomial_bound_is_the_one_that_is_published():
    assert binomial_quantile(2_000, 0.01) == 31
    assert binomial_quantile(10, 1e-9) == 0
