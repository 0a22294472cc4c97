"""What is filed: a drill passes only by what held, and the page shows what did not."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.cli.drill import carried_out
from server.drills.carrying_out import Drill, carry_out
from server.drills.report import Expectation, Moment, Report, Step, document, page
from server.drills.stack import StackFailed
from server.drills.walk import Walk


def report(*expectations: Expectation) -> Report:
    found = Report("a-drill", "Something happens.", "docs/runbooks/some.md", {"roost": "1"}, ended_utc="later")
    found.expectations = list(expectations)
    found.timeline = [Moment("2026-01-01T00:00:00.000Z", "It | began.")]
    found.steps = [Step("2026-01-01T00:00:01.000Z", "What is there?", "roost status churn", 0, "a ``` fence\n", 0.5)]
    return found


HELD, MISSED = Expectation("the sun rises", True, "it did"), Expectation("it sets", False, "at noon")


def test_a_drill_passes_where_something_was_expected_and_all_of_it_held() -> None:
    assert report(HELD).passed
    assert not report(HELD, MISSED).passed
    assert not report().passed, "a drill that expects nothing shows nothing"


def test_the_page_shows_what_failed_and_keeps_an_output_whole() -> None:
    text = page(report(HELD, MISSED))
    assert text.startswith("# Drill a-drill: failed\n")
    assert "| **FAILED** | it sets | at noon |" in text
    assert "| held | the sun rises | it did |" in text
    assert "| 2026-01-01T00:00:00.000Z | It \\| began. |" in text
    assert "````console\n$ roost status churn\na ``` fence\n````" in text
    assert "| time to detect | never |" in text


def test_the_document_has_all_of_it() -> None:
    found = document(report(MISSED))
    assert (found["format"], found["passed"], found["drill"]) == (1, False, "a-drill")
    assert found["expectations"] == [{"text": "it sets", "held": False, "found": "at noon"}]


@pytest.mark.parametrize("error", [StackFailed("the server ended"), OSError(28, "No space left on device")])
def test_a_drill_that_cannot_be_carried_out_has_failed_and_says_why(tmp_path: Path, error: Exception) -> None:
    folders: list[Path] = []

    def incident(walk: Walk, folder: Path) -> None:
        folders.append(folder)
        walk.expect("it begins", True)
        raise error

    found = carry_out(Drill("a-drill", "x", "y", incident), tmp_path, lambda line: None)
    assert not found.passed
    assert str(error) in (tmp_path / "report.md").read_text()
    assert not folders[0].exists()


def test_the_exit_code_is_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def good(walk: Walk, folder: Path) -> None:
        walk.expect("it is so", True, "yes")

    def bad(walk: Walk, folder: Path) -> None:
        walk.expect("it is so", False, "no [bold]way[/bold]")

    assert carried_out(Drill("good", "x", "y", good), tmp_path) == 0
    assert carried_out(Drill("bad", "x", "y", bad), tmp_path) == 1
    said = capsys.readouterr()
    assert "FAILED it is so: no [bold]way[/bold]" in said.out
    assert "FAILED: expected that it is so" in said.err
