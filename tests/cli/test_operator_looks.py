"""The operators' commands that look: tables, sentences, events, as people and scripts read them."""

from __future__ import annotations

import json
import re
import threading
import time

import grpc

from protos.roost.v1 import admin_pb2
from tests.cli.scripted_admin import CANARY, STABLE, ScriptedAdmin, churn, run


def test_status_is_a_table_of_all_models(admin: ScriptedAdmin) -> None:
    admin.answers["ListModels"] = admin_pb2.ListModelsReply(
        models=[
            churn(),
            churn(name="fraud", serving=False, message="nothing safe is left", frozen=True, workers_following=1),
        ],
        alerts=["registry: down"],
    )
    result = run(admin.address, "status")
    row, other = (line for line in result.stdout.splitlines() if "churn" in line or "fraud" in line)
    assert re.split(" {2,}", row.strip()) == ["churn", "7", "3", "4", "5 %", "not worse", "1 % > [5 %]"]
    assert "last safe" not in result.stdout, "no model has one"
    assert "nothing safe is left; frozen; 1 of 2 workers follow" in other
    assert result.stderr == "roost: registry: down\n"


def test_brackets_in_what_a_server_says_are_no_markup(admin: ScriptedAdmin) -> None:
    admin.answers["ListModels"] = admin_pb2.ListModelsReply(
        models=[churn(serving=False, message="[bold]why[/bold] [/nonsense]")]
    )
    assert "[bold]why[/bold] [/nonsense]" in run(admin.address, "status").stdout


def test_status_of_a_model_shows_all_of_it(admin: ScriptedAdmin) -> None:
    admin.answers["DescribeModel"] = admin_pb2.DescribeModelReply(
        model=churn(
            last_safe=admin_pb2.Artifact(version="2", digest="c" * 64),
            quarantined=[admin_pb2.QuarantinedDigest(digest="d" * 64, reason="errors")],
            alerts=["journal: the disk is full"],
            frozen=True,
        ),
        versions=[
            admin_pb2.RegistryVersion(artifact=STABLE, aliases=["stable"]),
            admin_pb2.RegistryVersion(artifact=CANARY),
        ],
    )
    result = run(admin.address, "status", "churn")
    assert result.stdout.splitlines() == [
        "churn: revision 7, route table 12",
        "  stable     version 3  aaaaaaaaaaaa",
        "  last safe  version 2  cccccccccccc",
        "  canary     version 4  bbbbbbbbbbbb  5 % of the traffic",
        "  rollout    r-1, canary, verdict: not worse",
        "  plan       1 % > [5 %], then promoted",
        "  step       41 s and 1,203 requests of at least 300 s and 2,000",
        "  frozen     no automatic action until `roost unfreeze`",
        "  workers    2 ready, 2 follow this route table",
        "  alerts     journal: the disk is full",
        "  quarantine dddddddddddd  errors",
        "  registry   version 3  aaaaaaaaaaaa @stable",
        "             version 4  bbbbbbbbbbbb",
    ]


def test_a_share_that_was_set_by_hand_is_said_with_what_resuming_would_make_of_it(admin: ScriptedAdmin) -> None:
    by_hand = churn(weight_ppm=200_000)
    by_hand.rollout.paused = True
    admin.answers["DescribeModel"] = admin_pb2.DescribeModelReply(model=by_hand)
    lines = [line.strip() for line in run(admin.address, "status", "churn").stdout.splitlines()]
    assert "its share was set by hand: `roost resume churn` goes back to 5 %" in lines
    by_hand.weight_ppm = 50_000
    admin.answers["DescribeModel"] = admin_pb2.DescribeModelReply(model=by_hand)
    assert "by hand" not in run(admin.address, "status", "churn").stdout


def test_a_canary_without_a_plan_has_nothing_to_wait_for(admin: ScriptedAdmin) -> None:
    rollout = admin_pb2.Rollout(
        id="r-2", steps=[admin_pb2.PlanStep(weight_ppm=50_000)], needs_approval=True, phase="canary", requests=3
    )
    admin.answers["DescribeModel"] = admin_pb2.DescribeModelReply(model=churn(rollout=rollout))
    lines = [line.strip() for line in run(admin.address, "status", "churn").stdout.splitlines()]
    assert "rollout    r-2, canary, verdict: none yet" in lines
    assert "plan       [5 %], then an operator decides" in lines
    assert "step       0 s and 3 requests" in lines


def test_status_of_a_model_that_is_not_served_says_why_first(admin: ScriptedAdmin) -> None:
    state = admin_pb2.ModelState(name="churn", message="Nothing safe is left to serve.")
    admin.answers["DescribeModel"] = admin_pb2.DescribeModelReply(model=state)
    lines = run(admin.address, "status", "churn").stdout.splitlines()
    assert lines[1].strip() == "NOT SERVED Nothing safe is left to serve."


def test_evidence_is_words_and_then_counts(admin: ScriptedAdmin) -> None:
    admin.answers["GetEvidence"] = admin_pb2.GetEvidenceReply(
        model="churn",
        canary=CANARY,
        verdict="wait",
        words=["Not enough evidence yet."],
        epochs=[
            admin_pb2.EpochCounts(
                weight_epoch=2,
                canary_ppm=50_000,
                stable=admin_pb2.ArmCounts(requests=19_000, errors=19),
                canary=admin_pb2.ArmCounts(requests=1_000, units=321, timeouts=2, timeouts_all=654),
            )
        ],
        signals=[
            admin_pb2.SignalEvidence(name="non_finite", e_worse=0.25, e_not_worse=12.5, odds_ratio_high=float("inf"))
        ],
        e_worse=0.0625,
    )
    result = run(admin.address, "evidence", "churn")
    assert result.stdout.startswith("churn, version 4:\nNot enough evidence yet.\n")
    for text in ("95 %", "5 %", "19,000", "1,000", "321", "2 of 654", "non-finite", "0.25", "12.5", "0 to no bound"):
        assert text in result.stdout
    assert result.stdout.split()[-2:] == ["together", "0.0625"]


def test_evidence_without_a_canary_is_its_words_alone(admin: ScriptedAdmin) -> None:
    admin.answers["GetEvidence"] = admin_pb2.GetEvidenceReply(model="churn", words=["No canary has been looked at."])
    assert run(admin.address, "evidence", "churn").stdout == "No canary has been looked at.\n"


def test_explain_is_a_sentence_a_line(admin: ScriptedAdmin) -> None:
    admin.answers["Explain"] = admin_pb2.ExplainReply(words=["It went home.", "Release it, to try it again."])
    assert run(admin.address, "explain", "churn").stdout == "It went home.\nRelease it, to try it again.\n"


# --- Events ----------------------------------------------------------------------------------------------------------
EVENTS = [
    admin_pb2.Event(
        sequence=number, at_utc="2026-01-31T14:03:00.000Z", model="churn", kind="decision", text=f"the {number}th"
    )
    for number in (11, 12)
]


def test_events_are_those_that_are_kept_and_then_it_ends(admin: ScriptedAdmin) -> None:
    admin.events = EVENTS
    result = run(admin.address, "events", "churn")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[1] == "2026-01-31T14:03:00.000Z  12  churn  decision: the 12th"
    request = admin.asked[-1][1]
    assert (request.model, request.after_sequence) == ("churn", 1)


def test_events_as_json_are_a_document_a_line(admin: ScriptedAdmin) -> None:
    admin.events = EVENTS
    result = run(admin.address, "events", "--json", "--after", "10")
    assert [json.loads(line)["sequence"] for line in result.stdout.splitlines()] == [11, 12]
    assert admin.asked[-1][1].after_sequence == 10


def test_following_goes_on_until_the_server_ends_it(admin: ScriptedAdmin) -> None:
    admin.events, admin.stay_open = EVENTS, True

    def leave() -> None:
        while "WatchEvents" not in [method for method, _ in admin.asked]:
            time.sleep(0.01)
        time.sleep(1.5)  # longer than a quiet that ends it without --follow
        assert admin.server is not None
        admin.server.stop(None)

    leaving = threading.Thread(target=leave)
    leaving.start()
    result = run(admin.address, "events", "--follow")
    leaving.join()
    assert "the 12th" in result.stdout
    assert result.exit_code == 3
    assert "the control process ended" in result.stderr
    assert "`roost events --follow --after 12`" in result.stderr, "how to go on from here"


def test_events_of_an_unknown_model_are_refused(admin: ScriptedAdmin) -> None:
    admin.answers["DescribeModel"] = (grpc.StatusCode.NOT_FOUND, "model: expected one that is served (churn), got 'x'.")
    result = run(admin.address, "events", "x", "--follow")
    assert result.exit_code == 1
    assert result.stderr == "roost: model: expected one that is served (churn), got 'x'.\n"
