"""`make bench-rollouts`: good and bad canaries under a load of which every reply is checked, and what each came to.

Writes rollouts.json into `--out`. Exit codes: 0 everything was kept; 1 something was missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from rich.console import Console

from benchmarks.machine import Machine
from benchmarks.rollouts.measured import STORIES, Outcome, rollouts
from benchmarks.rollouts.report import as_json, show, targets
from benchmarks.servers import compile_kernels
from benchmarks.swaps.versions import Versions

TABLE_CHARACTERS = 132


def median(runs: Sequence[Outcome]) -> Outcome:
    """One story's runs as one: the median of each figure, and an end only where all ended so."""
    numbers = {}
    for one in fields(Outcome):
        values = [getattr(run, one.name) for run in runs]
        if all(type(value) in (int, float) for value in values):
            numbers[one.name] = type(values[0])(statistics.median(values))
    ends = {run.ended for run in runs}
    ended = ends.pop() if len(ends) == 1 else ", ".join(sorted(ends))
    return replace(runs[0], **numbers, ended=ended, all_agree=all(run.all_agree for run in runs))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollouts", description="Canaries that come home.")
    parser.add_argument("--times", type=int, default=3, help="how often each story is told")
    parser.add_argument("--only", default="", help="stories whose name has this in it")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for rollouts.json")
    arguments = parser.parse_args()
    stories = tuple(story for story in STORIES if arguments.only in story.name)
    if not stories or arguments.times < 1:
        names = "; ".join(story.name for story in STORIES)
        print(f"bench-rollouts: expected --times of 1 or more and --only of one of: {names}.", file=sys.stderr)
        return 2
    if not compile_kernels("bench-rollouts"):
        return 2
    console = Console(width=max(Console().width, TABLE_CHARACTERS))
    with tempfile.TemporaryDirectory() as scratch, console.status("starting a server") as status:
        runs = list(rollouts(Versions(Path(scratch)), stories * arguments.times, status.update))
    outcomes = [median([run for run in runs if run.story is story]) for story in stories]
    promises = targets(outcomes, runs)
    show(outcomes, promises, console)
    arguments.out.mkdir(parents=True, exist_ok=True)
    command = " ".join(
        ["make bench-rollouts", *([f"BENCH='--times {arguments.times}'"] if arguments.times != 3 else [])]
    )
    (arguments.out / "rollouts.json").write_text(as_json(runs, promises, Machine.here(), command))
    return 0 if all(one.passed for one in promises) else 1


if __name__ == "__main__":
    sys.exit(main())
