"""What rollouts came to, as a table on the terminal and as JSON, beside what was promised.

Used by `python -m benchmarks.rollouts`. Pure. Always: both show the same figures, and neither names a host or a path.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import Machine
from benchmarks.rollouts.measured import PROMOTED, Outcome
from benchmarks.targets import TARGET_COLUMNS, Target

STABLE_P99_MAX = 1.5


def targets(outcomes: Sequence[Outcome], runs: Sequence[Outcome]) -> list[Target]:
    """What was promised, and what came of it. outcomes: one a story, of medians; runs: all of them."""
    return [
        Target("rollouts that ended as they ought to", len(runs), True, sum(_well(one) for one in runs)),
        Target("wrong answers of stables", 0, False, sum(one.stable_wrong for one in runs)),
        Target("bad replies of good canaries", 0, False, sum(_bad_of_good(one) for one in runs)),
        Target(
            "stable's p99 beside a bad canary, to quiet (the worst story)",
            STABLE_P99_MAX,
            False,
            max((one.p99_ratio for one in outcomes if one.story.ends != PROMOTED), default=0.0),
        ),
    ]


def _well(outcome: Outcome) -> bool:
    return outcome.ended == outcome.story.ends and outcome.all_agree


def _bad_of_good(outcome: Outcome) -> int:
    return outcome.bad_replies if outcome.story.ends == PROMOTED else 0


def show(outcomes: Sequence[Outcome], promises: Sequence[Target], console: Console) -> None:
    figures = Table(title="Rollouts under 2,000 checked requests/s", caption="Medians over the runs of a story.")
    for column in ("canary", "ended", "after requests", "of them its own", "s", "bad replies", "last, ms after",
                   "stable's p99, us", "beside it"):  # fmt: skip
        figures.add_column(column, justify="left" if column in ("canary", "ended") else "right")
    for one in outcomes:
        ended = one.ended.replace("_", " ") if _well(one) else f"{one.ended}, NOT WELL"
        figures.add_row(
            one.story.name, ended, f"{one.requests:,}", f"{one.canary_requests:,}", f"{one.decided_s:.2f}",
            f"{one.bad_replies:,}", f"{one.last_bad_ms:,.0f}", f"{one.quiet_p99_us:,.0f}", f"x {one.p99_ratio:.2f}",
        )  # fmt: skip
    console.print(figures)
    table = Table(*TARGET_COLUMNS)
    for one in promises:
        table.add_row(*one.row)
    console.print(table)


def as_json(runs: Sequence[Outcome], promises: Sequence[Target], machine: Machine, command: str) -> str:
    document: dict[str, Any] = {
        "machine": machine.as_dict(),
        "command": command,
        "runs": [
            {"canary": one.story.name, "wanted": one.story.ends}
            | {key: value for key, value in asdict(one).items() if key != "story"}
            | {"p99_ratio": one.p99_ratio}
            for one in runs
        ],
        "targets": [one.as_dict() for one in promises],
    }
    return json.dumps(document, indent=1)
