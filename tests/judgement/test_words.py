"""What people are told is what was judged, and what is said to change it does, by just so much."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.judgement.evidence import SIGNALS, ArmCounts, EpochCounts, keyless
from server.judgement.policy import Policy
from server.judgement.verdicts import Verdict, judge
from server.judgement.words import NAMES, in_words, what_would_change_it

POLICY = Policy()


def at_five_percent(stable, canary):
    return (EpochCounts(1, 50_000, keyless(*stable), keyless(*canary)),)


def said(evidence):
    return in_words(judge(evidence, POLICY))


def test_a_canary_that_waits_is_told_what_it_waits_for():
    verdict, errors, non_finite, timeouts = said(at_five_percent((4_100, 4), (212, 3)))
    assert verdict == (
        "Not enough evidence in 212 canary requests: would be rolled back at E >= 100, is 16; "
        "errors would pass at E >= 20, is 0.19."
    )
    assert errors == (
        "3 errors in 212 canary requests against 4 in 4,100 of the stable's: "
        "likeliest 14, between 0.55 and 251 times the stable's rate with 99 % confidence."
    )
    assert non_finite == "No non-finite outputs in 212 canary requests, nor in 4,100 of the stable's."
    assert timeouts == "No timeouts in 212 canary requests, nor in 4,100 of the stable's."


def test_a_canary_that_goes_home_is_told_by_what():
    verdict = said(at_five_percent((38,), (2, 0, 4)))[0]
    assert re.fullmatch(
        r"Worse than the stable beside it, by non-finite outputs: rolled back at E >= 100, is [\d,]+\.", verdict
    )


def test_a_canary_that_passes_is_told_how_far():
    assert said(at_five_percent((190_000,), (10_000,)))[0].startswith(
        "Not worse than the stable beside it: every signal passes at E >= 20, the least of them, errors, is "
    )


def test_no_evidence_is_called_so():
    assert said(())[0].startswith("Nothing to judge: no request carries evidence yet.")


def test_a_canary_with_too_few_requests_is_told_how_many_it_needs():
    evidence = at_five_percent((190_000,), (10_000,))
    words = in_words(judge(evidence, Policy(canary_requests_min=20_000)))[0]
    assert words.endswith("every signal passes, from 20,000 canary requests on.")


@pytest.mark.parametrize(
    ("stable", "canary", "bound"),
    [((0, 0), (40, 9), "at least"), ((9_000, 90), (500, 0), "at most"), ((95_000, 90), (5_000, 9), "between")],
)
def test_a_bound_that_is_not_known_is_not_told(stable, canary, bound):
    assert bound in said(at_five_percent(stable, canary))[1]


def test_one_event_where_the_canary_has_next_to_no_traffic_bounds_nothing():
    evidence = (EpochCounts(1, 1, keyless(1_000, 1), keyless(0)),)
    assert "too few to bound the ratio of rates" in said(evidence)[1]


@given(*[st.integers(0, 60)] * 6)
def test_what_is_said_to_take_it_home_does_and_one_less_does_not(a, b, c, d, e, f):
    evidence = at_five_percent((9_500, a, b, c), (500, d, e, f))
    for sentence in what_would_change_it(evidence, POLICY):
        if match := re.match(r"([\d,]+) more (.+) of the canary, none of the stable, would take it home", sentence):
            count = int(match[1].replace(",", ""))
            name = next(name for name in SIGNALS if match[2] in NAMES[name])
            for more, verdict_is in ((count, True), (count - 1, False)):
                added = EpochCounts(2, 50_000, ArmCounts(), keyless(requests=more, **{name: more}))
                assert (judge((*evidence, added), POLICY).verdict is Verdict.WORSE) is verdict_is


def test_what_is_said_to_let_it_pass_does_and_one_less_does_not():
    evidence = at_five_percent((4_100, 4), (212, 1))
    sentence = what_would_change_it(evidence, POLICY)[1]
    count = int(re.match(r"([\d,]+) more canary requests without any event", sentence)[1].replace(",", ""))
    for more, verdict in ((count, Verdict.NOT_WORSE), (count - 1, Verdict.WAIT)):
        added = EpochCounts(2, 50_000, ArmCounts(), keyless(requests=more))
        assert judge((*evidence, added), POLICY).verdict is verdict


def test_a_canary_that_is_home_or_has_no_evidence_has_nothing_that_would_change_it():
    assert what_would_change_it((), POLICY) == ()
    assert what_would_change_it(at_five_percent((0,), (0, 9)), POLICY) == ()


def test_a_canary_that_passes_is_still_told_what_would_take_it_home():
    (sentence,) = what_would_change_it(at_five_percent((190_000,), (10_000,)), POLICY)
    assert sentence.endswith("would take it home.")


def test_a_canary_of_keys_is_told_how_many_it_met_and_what_those_that_failed_did_again():
    canary = ArmCounts(10_000, 3, 0, 0, 60, 120, 0, 0)
    verdict, errors, non_finite, _ = said((EpochCounts(1, 50_000, keyless(190_000, 60), canary),))
    assert verdict.startswith("Not enough evidence in 10,000 canary requests: ")
    assert errors.startswith("3 errors in 10,000 canary requests of 60 keys against 60 in 190,000 of the stable's: ")
    assert errors.endswith(" Keys that had failed before add 117 errors of the canary.")
    assert non_finite == "No non-finite outputs in 10,000 canary requests of 60 keys, nor in 190,000 of the stable's."


def test_a_canary_of_too_few_keys_is_told_that_more_keys_are_what_it_wants():
    evidence = (EpochCounts(1, 50_000, ArmCounts(190_000), ArmCounts(requests=10_000, units=60)),)
    sentence = what_would_change_it(evidence, POLICY)[1]
    count = re.fullmatch(
        r"([\d,]+) more canary requests without any event, each of another key, would show that it is not worse\.",
        sentence,
    )
    more = int(count[1].replace(",", ""))
    for requests, verdict in ((more, Verdict.NOT_WORSE), (more - 1, Verdict.WAIT)):
        assert judge((*evidence, EpochCounts(2, 50_000, ArmCounts(), keyless(requests))), POLICY).verdict is verdict
