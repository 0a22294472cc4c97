"""`roost drill` on the command line: its help teaches, and a slip costs no minute."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from server.cli.application import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["drill", *arguments])


def test_the_help_says_what_each_drill_does_where_its_runbook_is_and_what_the_exit_codes_mean() -> None:
    said = run("--help").stdout
    for word in ("sudden-drift", "bad-canary", "docs/runbooks/bad-canary.md", "--break-glass", "--keep", "Exit code 0"):
        assert word in said
    for runbook in re.findall(r"docs/runbooks/\S+\.md", said):
        assert (Path(__file__).parents[2] / runbook).is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["flood"], "'flood' is not one of 'sudden-drift', 'bad-canary'"),
        (["sudden-drift", "--break-glass"], "expected it with bad-canary, got it with sudden-drift."),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_a_slip_is_told_before_anything_is_started(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in re.sub(r"[│\s]+", " ", result.stderr)


def test_a_report_is_not_written_over_another_one(tmp_path: Path) -> None:
    (tmp_path / "report.md").write_text("last year's")
    result = run("bad-canary", "--report", str(tmp_path))
    assert result.exit_code == 2
    assert "expected a new or empty folder" in re.sub(r"[│\s]+", " ", result.stderr)
    assert (tmp_path / "report.md").read_text() == "last year's"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("bad-canary", "--report", str(tmp_path / "file" / "report"))
    assert result.exit_code == 2
    assert "expected a folder to write in" in re.sub(r"[│\s]+", " ", result.stderr)
