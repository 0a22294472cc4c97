"""The judge over recorded looks says what the server said."""

from __future__ import annotations

from server.judgement.evidence import EpochCounts, keyless
from server.judgement.policy import Policy
from server.judgement.replay import Look, first_verdict, replay
from server.judgement.verdicts import Verdict, judge

MS_250 = 250_000_000


def looks(canary_errors_each, count):
    return [
        Look(
            MS_250 * at,
            (EpochCounts(1, 50_000, keyless(475 * at, at // 2), keyless(25 * at, canary_errors_each * at)),),
        )
        for at in range(1, count + 1)
    ]


def test_a_rollout_ends_at_the_look_that_says_worse_and_not_later():
    recorded = looks(1, 50)
    judged = list(replay(recorded, Policy()))
    assert judged[-1].judgement.verdict is Verdict.WORSE
    assert all(one.judgement.verdict is Verdict.WAIT for one in judged[:-1])
    assert len(judged) < len(recorded)
    assert first_verdict(recorded, Policy()) == judged[-1]


def test_every_look_gets_the_judgement_that_judge_gives_it():
    for one in replay(looks(0, 20), Policy()):
        assert one.judgement == judge(one.look.evidence, Policy())


def test_a_stricter_policy_takes_longer_over_the_same_looks():
    early, late = (first_verdict(looks(1, 50), Policy(alpha=alpha)) for alpha in (0.05, 0.0001))
    assert early is not None
    assert late is not None
    assert early.look.at_ns < late.look.at_ns


def test_looks_that_never_decide_have_no_verdict():
    assert first_verdict(looks(0, 5), Policy()) is None
