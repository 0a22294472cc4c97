"""`make bench-swaps`: weights flipped and versions swapped under a load of which every reply is checked.

Writes swaps.json into `--out`. Exit codes: 0 everything was kept; 1 something was missed; 2 something is not installed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.machine import Machine, what_is_missing
from benchmarks.servers import compile_kernels
from benchmarks.swaps.measured import Plan, measured
from benchmarks.swaps.report import as_json, show, targets
from benchmarks.swaps.versions import Versions

FULL = Plan(flips=1000, flip_pairs=25, flip_window_s=4.0, cycles=200, warm_cycles=4, capacity_s=0.5)
QUICK = Plan(flips=20, flip_pairs=2, flip_window_s=0.3, cycles=1, warm_cycles=1, capacity_s=0.3)
SWAPS_A_CYCLE = 2
TABLE_CHARACTERS = 100


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps", description="Swap versions under load.")
    parser.add_argument("--quick", action="store_true", help="a few of everything: figures are rough")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder for swaps.json")
    parser.add_argument("--cycles", type=int, help="other than the plan's: versions loaded, swapped in, taken back")
    arguments = parser.parse_args()
    missing = what_is_missing()
    if missing is not None:
        print(missing, file=sys.stderr)
        return 2
    plan = QUICK if arguments.quick else FULL
    if arguments.cycles is not None:
        plan = Plan(**{**vars(plan), "cycles": arguments.cycles})
    if not compile_kernels("bench-swaps"):
        return 2
    console = Console(width=max(Console().width, TABLE_CHARACTERS))
    with tempfile.TemporaryDirectory() as scratch, console.status("starting a server") as status:
        found = measured(plan, Versions(Path(scratch)), status.update)
    promises = targets(found, plan.flips, SWAPS_A_CYCLE * plan.cycles)
    show(found, promises, console)
    arguments.out.mkdir(parents=True, exist_ok=True)
    command = "make bench-swaps BENCH=--quick" if arguments.quick else "make bench-swaps"
    (arguments.out / "swaps.json").write_text(as_json(found, promises, Machine.here(), command))
    return 0 if all(one.passed for one in promises) else 1


if __name__ == "__main__":
    sys.exit(main())
