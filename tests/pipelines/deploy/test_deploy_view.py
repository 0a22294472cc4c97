"""What people see of a rollout: a line for each change where nobody watches, the same live where somebody does."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from pipelines.deploy.progress_view import Lines, details, headline, share_of_step, shown
from pipelines.deploy.rollout import Candidate, Rollout
from pipelines.deploy.watch import told
from pipelines.parameters import Deploy
from tests.pipelines.deploy.planted_decisions import ADVANCED, BY_ITSELF, CANARY, DEPLOYED, MODEL, STARTED, trial


@pytest.fixture
def rollout() -> Rollout:
    unused: Any = None
    made = Rollout(unused, unused, Candidate(MODEL, 2, CANARY, ""), Deploy(), "auto", None, lambda rollout: None)
    made.trial = trial()
    return made


def test_each_change_is_a_line_and_what_only_counts_up_is_none(rollout: Rollout) -> None:
    told_to = io.StringIO()
    with shown(Console(file=told_to, width=200)) as view:
        for decision in (DEPLOYED, STARTED, ADVANCED):
            rollout.trial = told(rollout.trial, decision)
            for requests in range(5):
                rollout.trial = replace(rollout.trial, requests=requests)
                view.show(rollout)
        rollout.trial = told(rollout.trial, BY_ITSELF)
        view.show(rollout)
    lines = told_to.getvalue().splitlines()
    assert len(lines) == 4
    assert "tried apart, then loaded" in lines[0]
    assert "step 1 of 2, 25 %" in lines[1]
    assert "step 2 of 2, 50 %" in lines[2]
    assert "promoted: promoted (by itself)" in lines[3]


def test_what_moves_behind_two_blanks_is_no_line() -> None:
    told_to = io.StringIO()
    view = Lines(Console(file=told_to, width=200))
    for seconds in range(3):
        view.say(f"starting a server  {seconds} s  compiling")
    view.say("ending it")
    assert told_to.getvalue().splitlines() == ["  deploy: starting a server", "  deploy: ending it"]


def test_a_terminal_shows_it_live_and_is_left_clean(rollout: Rollout) -> None:
    screen = io.StringIO()
    with shown(Console(file=screen, width=200, force_terminal=True)) as view:
        view.say("starting a server")
        rollout.trial = replace(told(told(rollout.trial, DEPLOYED), STARTED), requests=750, elapsed_s=5.0)
        view.show(rollout)
    assert "with 750 of 1,500 requests" in screen.getvalue()
    assert "━" in screen.getvalue()


def test_calls_that_fail_and_a_plan_that_waits_are_shown(rollout: Rollout) -> None:
    rollout.tally.calls = 10
    rollout.tally.note_error("UNAVAILABLE: nobody answers")
    rollout.trial = replace(rollout.trial, waits="Paused by ada.", words="Not enough evidence.", frozen_by="by bob.")
    text = "\n".join(details(rollout))
    for part in ("1 failed", "1 x UNAVAILABLE: nobody answers", "Paused by ada.", "Not enough evidence.", "by bob."):
        assert part in text


def test_the_bar_shows_what_is_missing_most(rollout: Rollout) -> None:
    begun = told(told(rollout.trial, DEPLOYED), STARTED)
    assert share_of_step(replace(begun, requests=1500, elapsed_s=1.0)) == 0.2
    assert share_of_step(replace(begun, requests=750, elapsed_s=9.0)) == 0.5
    assert headline(trial()) == "version 2 is fetched and verified"
