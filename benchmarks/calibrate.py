"""`python -m benchmarks.calibrate`: are verdicts right as often as promised? Simulates what the truth is known of:
rollouts, and streams of windows that drift or do not.

Prints tables, writes build/calibration.json. Exit codes: 0 all promises are kept; 1 one is broken, or a control that
must fail did not. 2,000 rollouts of 1,000,000 requests each and streams of 1,000 windows take about ten minutes;
`--quick` takes seconds, `--only rollouts` or `--only drift` leaves the other out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.calibration.drift_promises import DriftAnswer, answered_drift, drift_questions
from benchmarks.calibration.drift_tables import drift_tables
from benchmarks.calibration.promises import Answer, Asked, answered, questions

FULL: Final = (2_000, 1_000_000)
QUICK: Final = (100, 200_000)
DRIFT_FULL: Final = (1.0, 1_000)
DRIFT_QUICK: Final = (0.05, 60)
PARTS: Final = ("rollouts", "drift")
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
    parser.add_argument("--only", choices=PARTS, help="one of the two parts")
    parser.add_argument("--out", type=Path, default=Path("build/calibration.json"), help="where the figures go")
    given = parser.parse_args(arguments)
    rollouts, requests = QUICK if given.quick else FULL
    parts = PARTS if given.only is None else (given.only,)
    console = Console()
    if not console.is_terminal:
        console.width = TABLE_CHARACTERS
    started = time.monotonic()
    answers, drift = [], []
    with nullcontext() if given.quick else ProcessPoolExecutor(PROCESSES) as executor:
        if "rollouts" in parts:
            answers = answered(questions(), rollouts, requests, executor)
            for table in tables(answers):
                console.print(table)
        if "drift" in parts:
            drift = _drift(console, given.quick, executor)
    broken = [answer for answer in (*answers, *drift) if answer.kept is False]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "rollouts": rollouts,
        "requests": requests,
        "passed": not broken,
        "answers": [answer.to_dict() for answer in answers],
        "drift": [answer.to_dict() for answer in drift],
    }
    given.out.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    asked, elapsed_s = len(answers) + len(drift), time.monotonic() - started
    console.print(f"{asked} questions in {elapsed_s:.0f} s; figures in {given.out}")
    for answer in broken:
        console.print(f"BROKEN: {answer.question.asked.value}: {answer.question.name}", style="bold")
    return 1 if broken else 0


def _drift(console: Console, quick: bool, executor: Executor | None) -> list[DriftAnswer]:
    """Answers about drift, a line for each as it comes, since quiet streams take minutes."""
    share, windows = DRIFT_QUICK if quick else DRIFT_FULL
    asked = drift_questions()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("drift", total=len(asked))

        def done(answer: DriftAnswer) -> None:
            progress.update(task, advance=1, description=answer.question.name)
            if not console.is_terminal and not quick:
                console.print(f"{answer.question.name}: {answer.alarmed} of {answer.streams}")

        found = answered_drift(asked, share, windows, executor, done)
    for table in drift_tables(found):
        console.print(table)
    return found


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


if __name__ == "__main__":
    sys.exit(main())
