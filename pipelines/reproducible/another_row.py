"""`python -m pipelines.reproducible.another_row NAME --out DIR`: through bundle, with one value of one row changed.

Run by `trials.py` in a clone. Always: in tables of its own, since a load that is there with other rows is refused.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from pipelines.definition import EXAMPLES
from pipelines.reproducible.changes import with_another_row
from pipelines.running import DEFAULT_FOLDER, in_one_line, run_stages, work_of

KIND = "another-row"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipelines.reproducible.another_row", description=__doc__)
    parser.add_argument("name", choices=EXAMPLES)
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the bundle")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="KEY=VALUE; repeatable")
    arguments = parser.parse_args()
    with in_one_line(arguments.name):
        usual = work_of(arguments.name, registry="registry", folder=DEFAULT_FOLDER, changes=arguments.changes)
        definition = with_another_row(usual.definition)
        work = replace(usual, definition=definition, lake=usual.lake / KIND).elsewhere(KIND)
        run_stages(work, "bundle")
        shutil.copytree(work.of("bundle"), arguments.out)


if __name__ == "__main__":
    main()
