"""Both drills pass unattended, their reports say all that a team files, and a drill without its incident fails."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from server.drills.sudden_drift import FEATURE
from tests.drills.carried_out import Everything, carried_out

pytestmark = [pytest.mark.patient, pytest.mark.timeout(600)]

NAMES = ("sudden-drift", "bad-canary")
SECTIONS = (
    "Result", "Expectations", "What was staged", "What the policy did", "Timeline (UTC)", "Steps", "Versions",
)  # fmt: skip


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    found = carried_out(tmp_path_factory.mktemp("drills"))
    yield found
    kept = kept_folder(found)
    if kept is not None:
        shutil.rmtree(kept)


def kept_folder(everything: Everything) -> Path | None:
    said = re.search(r"Kept: (\S+)", everything.ended["bad-canary"].told)
    return None if said is None else Path(said[1])


def failed(report: dict[str, object]) -> list[object]:
    expectations = report["expectations"]
    assert isinstance(expectations, list)
    return [one for one in expectations if not one["held"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_drill_passes_unattended_whatever_the_environment_says(everything: Everything, name: str) -> None:
    ended = everything.ended[name]
    assert failed(ended.report) == []
    assert ended.code == 0, ended.told
    assert ended.report["passed"] is True
    assert len(ended.report["expectations"]) > 8


@pytest.mark.parametrize("name", NAMES)
def test_a_report_has_every_section_and_says_the_same_twice(everything: Everything, name: str) -> None:
    ended, report = everything.ended[name], everything.ended[name].report
    assert re.findall(r"^## (.+)$", ended.page, re.MULTILINE) == list(SECTIONS)
    assert ended.page.startswith(f"# Drill {name}: passed\n")
    for step in report["steps"]:
        assert f"$ {step['command']}\n{step['output'].rstrip()}" in ended.page
        assert step["output"].strip(), step["command"]
    for one in report["expectations"]:
        assert one["text"] in ended.page
    assert report["to_detect_s"] > 0
    assert report["to_detect_s"] < report["to_decide_s"]
    assert {"roost", "Python", "ONNX Runtime", "system"} <= report["versions"].keys()
    assert report["staged"]
    assert report["policy"]
    assert report["decision"] in ended.page


@pytest.mark.parametrize("name", NAMES)
def test_the_timeline_is_in_order_and_within_the_drill(everything: Everything, name: str) -> None:
    report = everything.ended[name].report
    moments = [datetime.fromisoformat(moment["at_utc"]) for moment in report["timeline"]]
    assert len(moments) >= 5
    assert moments == sorted(moments)
    assert datetime.fromisoformat(report["started_utc"]) <= moments[0]
    assert moments[-1] <= datetime.fromisoformat(report["ended_utc"])


@pytest.mark.parametrize("name", NAMES)
def test_the_servers_log_is_filed_and_its_folder_goes_unless_it_is_kept(everything: Everything, name: str) -> None:
    assert "ready: gRPC on 127.0.0.1" in (everything.ended[name].folder / "server.log").read_text()
    [folder] = set(re.findall(r"/\S*roost-drill-[^/\s]+", json.dumps(everything.ended[name].report["steps"])))
    assert Path(folder).exists() is (name == "bad-canary")
    if name == "bad-canary":
        assert Path(folder) == kept_folder(everything)


def test_the_drift_is_named_the_plan_was_held_and_nothing_went_home(everything: Everything) -> None:
    report = everything.ended["sudden-drift"].report
    assert FEATURE in report["decision"]
    assert any(f"Moved: {FEATURE}" in moment["text"] for moment in report["timeline"])
    assert any(line.startswith("Paused by roost drift: inputs have drifted.") for line in report["policy"])
    assert report["counts"]["shifted rows until the alarm"] >= 100
    commands = [step["command"] for step in report["steps"]]
    assert "roost drift churn --window minute" in commands
    assert commands[-1] == "roost journal verify"


def test_progress_and_result_have_their_own_streams(everything: Everything) -> None:
    drift, canary = everything.ended["sudden-drift"], everything.ended["bad-canary"]
    assert json.loads(drift.said) == drift.report
    assert "$ roost status churn" in drift.told
    assert canary.said.startswith("bad-canary: passed\n")
    assert str(canary.folder) in canary.said.replace("\n", "")


def test_the_bad_canary_cost_some_replies_and_none_after_it_was_home(everything: Everything) -> None:
    report = everything.ended["bad-canary"].report
    counts = report["counts"]
    assert 0 < counts["bad replies served, in all"] <= counts["of them the canary's"] + 5
    assert counts["of them the canary's"] < counts["requests from its first share to the decision"]
    assert counts["last bad reply after the decision, in milliseconds"] < 1000
    assert "non-finite outputs" in report["decision"]
    refused = next(step for step in report["steps"] if step["exit_code"] == 1)
    assert "quarantine" in refused["output"]


def test_the_glass_was_broken_and_the_journal_has_who_did_it(everything: Everything) -> None:
    steps = everything.ended["bad-canary"].report["steps"]
    home = next(step for step in steps if "--local" in step["command"])
    assert "version 1 is stable, alone." in home["output"]
    shown = [step["output"] for step in steps if step["command"].startswith("roost journal show")]
    assert "by drill (a drill: control is dead)" in shown[-1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sudden-drift", "a `drift` event of the inputs comes with the end of a whole shifted minute"),
        ("bad-canary", "the canary goes home by itself"),
    ],
)
def test_a_drill_whose_incident_is_left_out_fails(everything: Everything, name: str, expected: str) -> None:
    report = everything.sabotaged[name]
    assert not report.passed
    assert expected in [one.text for one in report.expectations if not one.held]
    assert report.to_detect_s is None
    held = [one.text for one in report.expectations if one.held]
    assert "the journal is whole" in held, "all else went on"
