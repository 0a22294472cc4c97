"""Wording: what a deployment says of a version and of how it ended, to the journal and to people. Pure.

Used by `deploying.py`. Always: whose words a reason is stays as `watch.py` has it; the judge's are added, never put in
its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.deploy import watch
from pipelines.deploy.rollout import Rollout


def evaluation_words(report: Mapping[str, Any]) -> str:
    """The gates' measure on how many rows, and how many gates it passed. report: as `evaluation/report.py` has it."""
    gates = {gate["name"] for gate in report["gates"]}
    failed = {gate["name"] for gate in report["gates"] if not gate["passed"]}
    figure = report["whole"][report["measure"]["name"]]
    judged = f"{report['measure']['title']} {'undefined' if figure is None else format(figure, 'g')}"
    return f"{judged} on {report['rows']['evaluation']:,} rows, {len(gates - failed)} of {len(gates)} gates passed"


def reason_of(trial: watch.Trial, evidence: Mapping[str, Any] | None) -> str:
    """The ending's, with the judge's words where it was by them."""
    ending = trial.ending
    assert ending is not None
    reason = ending.reason[:1].upper() + ending.reason[1:]
    judged = {watch.End.PROMOTED: "not_worse", watch.End.ROLLED_BACK: "worse"}.get(ending.end, "")
    if evidence is None or not evidence["words"] or evidence["verdict"] != judged:
        return reason
    return f"{reason} {evidence['words'][0]}"


def uncompared(rollout: Rollout) -> tuple[str, ...]:
    """What a promotion does not stand on."""
    canary = None if rollout.drift is None else rollout.drift.canary
    if canary is not None and canary.whose == "same":
        return ()
    why = "the plan was too short for it." if canary is None else canary.reason or canary.why
    return (f"Its answers were not compared with the stable's: {why}",)
