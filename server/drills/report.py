"""The report of a drill: what was staged, what was run, how long it took, and what of it held. Pure values.

Filled in by `walk`, written by `carrying_out` as `report.json` and, by `page`, as `report.md`. Always: both say the
same; a drill has passed only where something was expected and all of it held.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from server.control.event_log import utc_text

FORMAT_VERSION: Final = 1
UNATTENDED: Final = (
    "Nobody sat at the terminal: the drill ran the runbook's commands one after the other. Time to decide is therefore "
    "the machine's share of it; people read, and talk to each other."
)


def utc_now() -> str:
    return utc_text(time.time())


@dataclass(frozen=True)
class Moment:
    at_utc: str
    text: str


@dataclass(frozen=True)
class Step:
    """A command of the runbook. why: what it is to show. output: standard output and error, as they came."""

    at_utc: str
    why: str
    command: str
    exit_code: int
    output: str
    seconds: float


@dataclass(frozen=True)
class Expectation:
    """found: what was there, in words."""

    text: str
    held: bool
    found: str


@dataclass
class Report:
    """versions: of what ran. counts: of calls and rows, by what they were. policy: what the server did by itself.

    to_detect_s, to_decide_s: since the incident began; None where it did not come to that. measured: what both mean.
    decision: which line of the runbook's table it came to.
    """

    drill: str
    title: str
    runbook: str
    versions: dict[str, str]
    started_utc: str = field(default_factory=utc_now)
    ended_utc: str = ""
    staged: list[str] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)
    to_detect_s: float | None = None
    to_decide_s: float | None = None
    counts: dict[str, int | float] = field(default_factory=dict)
    policy: list[str] = field(default_factory=list)
    decision: str = ""
    timeline: list[Moment] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    expectations: list[Expectation] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.expectations) and all(one.held for one in self.expectations)


def document(report: Report) -> dict[str, Any]:
    """As JSON has it."""
    return {"format": FORMAT_VERSION, "passed": report.passed, **asdict(report)}


def page(report: Report) -> str:
    """As Markdown, to be filed."""
    verdict = "passed" if report.passed else "failed"
    parts = [
        f"# Drill {report.drill}: {verdict}",
        f"{report.title} From {report.started_utc} to {report.ended_utc}. The runbook is `{report.runbook}`.",
        UNATTENDED,
        "## Result",
        _table(
            ("what", "how much"),
            [
                ("time to detect", _seconds(report.to_detect_s)),
                ("time to decide", _seconds(report.to_decide_s)),
                *((name, f"{value:,}") for name, value in report.counts.items()),
            ],
        ),
        *report.measured,
        f"Decision: {report.decision or 'none was come to.'}",
        "## Expectations",
        _table(
            ("", "expected", "found"),
            [("held" if one.held else "**FAILED**", one.text, one.found) for one in report.expectations],
        ),
        "## What was staged",
        _list(report.staged),
        "## What the policy did",
        _list(report.policy),
        "## Timeline (UTC)",
        _table(("when", "what"), [(moment.at_utc, moment.text) for moment in report.timeline]),
        "## Steps",
        *(part for step in report.steps for part in _step(step)),
        "## Versions",
        _table(("what", "version"), list(report.versions.items())),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _step(step: Step) -> tuple[str, str]:
    fence = "````"  # longer than any that an output is likely to have
    heading = f"### {step.why}\n\n{step.at_utc}, {step.seconds:.1f} s, exit code {step.exit_code}"
    return heading, f"{fence}console\n$ {step.command}\n{step.output.rstrip()}\n{fence}"


def _list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or "Nothing."


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _seconds(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.2f} s"
