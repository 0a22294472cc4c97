"""What rollouts came to: each promise can be missed, and medians hide no run that ended otherwise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.machine import Machine
from benchmarks.rollouts.__main__ import median
from benchmarks.rollouts.measured import HOME, PROMOTED, STORIES, Outcome
from benchmarks.rollouts.report import as_json, targets

GOOD = next(story for story in STORIES if story.ends == PROMOTED)
BAD = next(story for story in STORIES if story.ends == HOME)
HOMECOMING = Outcome(
    BAD, HOME, requests=1000, canary_requests=50, decided_s=0.5, bad_replies=7, last_bad_ms=1.0, stable_wrong=0,
    quiet_p99_us=100.0, beside_p99_us=140.0, all_agree=True,
)  # fmt: skip
PROMOTION = replace(HOMECOMING, story=GOOD, ended=PROMOTED, bad_replies=0, beside_p99_us=900.0)


def missed(*runs: Outcome) -> set[str]:
    return {one.what for one in targets(runs, runs) if not one.passed}


def test_what_was_promised_is_kept_whatever_a_promotion_costs() -> None:
    assert missed(HOMECOMING, PROMOTION) == set()


@pytest.mark.parametrize(
    ("run", "promise"),
    [
        (replace(HOMECOMING, ended="neither"), "rollouts that ended as they ought to"),
        (replace(HOMECOMING, all_agree=False), "rollouts that ended as they ought to"),
        (replace(PROMOTION, ended=HOME), "rollouts that ended as they ought to"),
        (replace(HOMECOMING, stable_wrong=1), "wrong answers of stables"),
        (replace(PROMOTION, bad_replies=1), "bad replies of good canaries"),
        (
            replace(HOMECOMING, beside_p99_us=151.0),
            "stable's p99 beside a bad canary, to quiet (the worst story)",
        ),
    ],
)
def test_each_promise_can_be_missed(run: Outcome, promise: str) -> None:
    assert missed(HOMECOMING, PROMOTION, run) == {promise}


def test_a_median_says_so_where_a_run_ended_otherwise() -> None:
    runs = [replace(HOMECOMING, requests=requests) for requests in (1, 2, 900)]
    assert median(runs) == replace(HOMECOMING, requests=2)
    assert median([*runs, replace(HOMECOMING, ended="neither")]).ended == "neither, went_home"
    assert not median([*runs, replace(HOMECOMING, all_agree=False)]).all_agree


def test_the_file_has_every_run() -> None:
    document = json.loads(as_json([HOMECOMING, PROMOTION], targets([HOMECOMING], [HOMECOMING]), Machine.here(), "x"))
    assert [one["canary"] for one in document["runs"]] == [BAD.name, GOOD.name]
    assert document["runs"][0]["p99_ratio"] == 1.4
