"""The runbooks hold: their commands exist, their alerts and metrics are the server's, and each says all it has to."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from server.cli.application import app
from server.drills import bad_canary, sudden_drift
from server.drills.model import NAME
from server.judgement.drift.policy import INPUTS
from server.lifecycle.explain import KINDS
from server.lifecycle.facts import JUDGED_WORSE

ROOT = Path(__file__).parents[2]
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs" / "runbooks").glob("*.md"))}
RUNBOOKS = {name: text for name, text in PAGES.items() if name != "README"}
SECTIONS = (
    "How you notice", "Do not", "First five minutes", "What it looks like", "What you see, and what to do", "Recovery",
    "After-care", "How the drill practises it",
)  # fmt: skip
METRICS = (ROOT / "docs/reference/metrics.md").read_text()
EVENTS = (ROOT / "docs/reference/events.md").read_text()


def commands() -> list[Any]:
    """Each command line of `roost` on the pages, in blocks and in sentences."""
    found = []
    for name, text in PAGES.items():
        blocks = "\n".join(re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        sentences = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        lines = re.findall(r"^\$ (?:\.venv/bin/)?roost (.+)$", blocks, re.MULTILINE)
        lines += re.findall(r"`roost ([^`]+)`", sentences)
        for line in dict.fromkeys(lines):
            written = shlex.split(line.partition(" | ")[0])
            found.append(pytest.param(written, id=f"{name}: {line}"))
    return found


@pytest.mark.parametrize("arguments", commands())
def test_a_command_of_a_runbook_is_one_that_the_command_line_has(arguments: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    context = command.make_context("roost", list(arguments))
    rest = [*context._protected_args, *context.args]
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    for argument in rest:
        if argument.startswith("-"):
            assert argument in known, f"{name}: {argument}"
    if not {"MODEL", "NAME", "N", "..."} & set(rest) and len(rest) > 0:
        command.make_context(name, rest, parent=context)


def test_there_are_commands_to_look_at() -> None:
    assert len(commands()) > 20


@pytest.mark.parametrize("name", RUNBOOKS)
def test_a_runbook_begins_with_what_the_operator_has_read_and_has_every_section(name: str) -> None:
    text = RUNBOOKS[name]
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [section for section in found if section in SECTIONS] == list(SECTIONS)
    assert text.index("```text\n") < text.index("## How you notice")


def test_every_drill_has_its_runbook_and_every_runbook_its_drill() -> None:
    drills = {drill.name: drill for drill in (sudden_drift.drill(), bad_canary.drill())}
    assert drills.keys() == RUNBOOKS.keys()
    for name, drill in drills.items():
        assert drill.runbook == f"docs/runbooks/{name}.md"
        assert f"roost drill {name}" in RUNBOOKS[name]
        assert f"({name}.md)" in PAGES["README"]


@pytest.mark.parametrize("name", PAGES)
def test_metrics_and_decisions_of_a_runbook_are_the_servers(name: str) -> None:
    for metric in set(re.findall(r"\broost_[a-z_]+", PAGES[name])):
        assert re.search(rf"`{metric}`", METRICS), metric
    for kind in re.findall(r"decision `(\w+)`", PAGES[name]):
        assert kind in KINDS
        assert f"`{kind}`" in EVENTS


def test_what_the_operator_reads_first_is_what_the_server_says() -> None:
    drifted = f"drift of {NAME}: {INPUTS}: they have drifted, by the minute. `roost drift {NAME}` shows"
    assert drifted in RUNBOOKS["sudden-drift"]
    home = KINDS["went_home"].format(quarantined="3", stable="2")
    assert f"{home}: {JUDGED_WORSE}." in RUNBOOKS["bad-canary"]


@pytest.mark.parametrize(
    ("moved", "line", "meaning"),
    [
        ({"inputs": ["age"], "predictions": []}, "one input, moved", "its source changed"),
        ({"inputs": ["age", "spend"]}, "several inputs at once", "other callers, or another population"),
        ({"predictions": ["score"]}, "predictions, and no input", "inputs that have no bins"),
    ],
)
def test_the_drills_decision_is_a_line_of_the_runbooks_table(
    moved: dict[str, list[str]], line: str, meaning: str
) -> None:
    table = RUNBOOKS["sudden-drift"].partition("## What you see, and what to do")[2]
    [row] = [row for row in table.splitlines() if row.startswith(f"| {line}")]
    assert meaning in row
    assert meaning in sudden_drift.decision(moved, held=False)


def test_a_decision_says_which_input_and_what_waits() -> None:
    told = sudden_drift.decision({"inputs": ["age"], "predictions": ["score"]}, held=True)
    assert "age" in told
    assert "take nothing back" in told
    assert "Predictions follow it." in told
    assert "plan that waits" in told
    assert sudden_drift.decision({}, held=False).startswith("Nothing has drifted")
    assert "for its non-finite outputs" in bad_canary.decision("went_home", "non_finite")
    assert "roost rollback" in bad_canary.decision("", "")
