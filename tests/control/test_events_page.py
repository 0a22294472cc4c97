"""docs/reference/events.md names every event and every decision, and nothing else."""

import re
from pathlib import Path

from server.control.recovery import NOTES
from server.lifecycle.explain import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/events.md").read_text()


def rows_of(heading: str) -> set[str]:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))


def test_every_kind_of_event_is_listed() -> None:
    source = "".join(path.read_text() for path in (ROOT / "server/control").rglob("*.py"))
    assert rows_of("Events") == set(re.findall(r'(?:events|self)\.append\(\s*"([a-z_]+)"', source))


def test_every_kind_of_decision_is_listed_and_notes_are_named() -> None:
    assert rows_of("Decisions") == set(KINDS) - NOTES
    for note in NOTES:
        assert f"`{note}`" in PAGE
