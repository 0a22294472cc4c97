"""`python -m benchmarks.calibrate`: are verdicts right as often as promised? Simulates rollouts whose truth is known.

Prints tables, writes build/calibration.json. Exit codes: 0 all promises are kept; 1 one is broken, or a control that
must fail did not. 2,000 rollouts of 1,000,000 requests each take a few minutes; `--quick` takes seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.calibration.promises import Answer, Asked, answered, questions

FULL: Final = (2_000, 1_000_000)
QUICK: Final = (100, 200_000)
PROCESSES: Final = 2
COLUMNS: Final = (
    "rollouts",
    "happened",
    "promised at most",
    "median requests",
    "of the canary's",
    "promised median",
    "let pass before",
    "a z-test would",
    "promise",
)
TABLE_CHARACTERS: Final = 120  # where the output is no terminal, rich would cut it at 80


def tables(answers: Sequence[Answer]) -> list[Table]:
    """One table for each kind of question, in order, with the columns that say something about it."""
    shown = []
    for asked in Asked:
        rows = [answer for answer in answers if answer.question.asked is asked]
        if not rows:
            continue
        cells = [_cells(answer) for answer in rows]
        used = [column for column in COLUMNS if any(row[column] for row in cells)]
        table = Table(title=asked.value, title_justify="left")
        for column in used:
            table.add_column(column, justify="left" if column == COLUMNS[0] else "right", no_wrap=column in COLUMNS[:2])
        for row in cells:
            table.add_row(*(row[column] for column in used))
        shown.append(table)
    return shown


def _cells(answer: Answer) -> dict[str, str]:
    asked = answer.question.asked
    about_rates = answer.most is not None
    values = (
        answer.question.name,
        f"{answer.happened:,} of {answer.rollouts:,}",
        _number(answer.most),
        _number(answer.median) if not about_rates else "",
        _number(answer.canary_median) if not about_rates else "",
        _number(answer.question.median_max),
        _number(answer.passed_instead) if asked is Asked.FOUND else "",
        _number(answer.z_test) if asked is Asked.FALSE_ROLLBACK else "",
        {None: "", True: "ok", False: "BROKEN"}[answer.kept],
    )
    return dict(zip(COLUMNS, values, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibrate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="100 rollouts of 200,000 requests, in this process")
    parser.add_argument("--out", type=Path, default=Path("build/calibration.json"), help="where the figures go")
    given = parser.parse_args(arguments)
    rollouts, requests = QUICK if given.quick else FULL
    console = Console()
    if not console.is_terminal:
        console.width = TABLE_CHARACTERS
    started = time.monotonic()
    if given.quick:
        answers = answered(questions(), rollouts, requests, None)
    else:
        with ProcessPoolExecutor(PROCESSES) as executor:
            answers = answered(questions(), rollouts, requests, executor)
    for table in tables(answers):
        console.print(table)
    broken = [answer for answer in answers if answer.kept is False]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "rollouts": rollouts,
        "requests": requests,
        "passed": not broken,
        "answers": [answer.to_dict() for answer in answers],
    }
    given.out.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    console.print(f"{len(answers)} questions in {time.monotonic() - started:.0f} s; figures in {given.out}")
    for answer in broken:
        console.print(f"BROKEN: {answer.question.asked.value}: {answer.question.name}", style="bold")
    return 1 if broken else 0


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


if __name__ == "__main__":
    sys.exit(main())
