"""`make reproduce`: two clones that must give one digest, and three changes that must give others and be named."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipelines.definition import EXAMPLES
from pipelines.reproducible.trials import Trial, Trials
from pipelines.running import DEFAULT_FOLDER, in_one_line

TABLE_CHARACTERS = 200


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines.reproducible", description=__doc__)
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"of {', '.join(EXAMPLES)}; none: all of them")
    parser.add_argument("--working-tree", action="store_true", help="what is not committed too, in place of HEAD alone")
    parser.add_argument("--set", dest="parameters", action="append", default=[], help="KEY=VALUE, in all; repeatable")
    given = parser.parse_args(arguments)
    if strange := [name for name in given.name if name not in EXAMPLES]:
        parser.error(f"NAME: expected one of {', '.join(EXAMPLES)}, got {strange[0]!r}")
    console = Console(highlight=False, soft_wrap=True)
    told: list[Trial] = []
    downloads = Path(DEFAULT_FOLDER).absolute() / "data"
    with in_one_line("reproducible"), tempfile.TemporaryDirectory(prefix="roost-reproducible-") as folder:
        for name in given.name or EXAMPLES:
            with console.status(name) as status:
                root, say = Path(folder) / name, status.update
                for trial in Trials(name, root, downloads, given.parameters, given.working_tree, say).run():
                    told.append(trial)
                    console.print(f"{trial.example}: {trial.name}: {trial.digest[:12]} ({trial.seconds:.0f} s)")
    Console(highlight=False, width=max(console.width, TABLE_CHARACTERS)).print(_table(told))
    broken = [trial for trial in told if not trial.holds]
    for trial in broken:
        print(f"reproducible: {trial.example}, {trial.name}: does not hold: {trial.told}", file=sys.stderr)
    return 1 if broken else 0


def _table(told: list[Trial]) -> Table:
    table = Table("example", "trained", "digest", "took", "holds", "found", box=None)
    for trial in told:
        holds = "yes" if trial.holds else "NO"
        table.add_row(trial.example, trial.name, trial.digest[:12], f"{trial.seconds:.0f} s", holds, trial.told)
    return table


if __name__ == "__main__":
    sys.exit(main())
