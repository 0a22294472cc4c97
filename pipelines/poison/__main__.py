"""`make poison`: nine ways in which records go bad; each is stopped by a gate, and past the gates by the server."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipelines.deploy.outcome import Outcome, Result
from pipelines.deploy.progress_view import shown
from pipelines.deploy.watch import DRIFT_OPERATOR, End
from pipelines.poison.cases import CASES, Case
from pipelines.poison.trying import NAME, Stopped, judged, served, sound, work_of_case
from pipelines.running import in_one_line, work_of
from pipelines.work import Work

FOLDER = Path(".roost/poison")
REPORT = Path("build/poison.json")
TABLE_CHARACTERS = 150


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipelines.poison", description=__doc__)
    parser.add_argument("--rows", type=int, help="only so many records of each year: quick, and less sure")
    parser.add_argument("--case", choices=[case.name for case in CASES], action="append", help="only this; repeatable")
    parser.add_argument("--gates-only", action="store_true", help="do not push anything past the gates")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    cases = [case for case in CASES if not arguments.case or case.name in arguments.case]
    changes = [] if arguments.rows is None else [f"snapshot.rows_max={arguments.rows}"]
    with in_one_line("poison"):
        shutil.rmtree(FOLDER, ignore_errors=True)
        registry = str(FOLDER / "registry")
        work = work_of(NAME, registry=registry, folder=".roost", changes=changes)
        with console.status("the sound model, to be compared with"):
            honest = sound(work, registry)
        told = [_tried(case, honest, arguments.gates_only, console) for case in cases]
    Console(highlight=False, width=max(console.width, TABLE_CHARACTERS)).print(_table(told))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(told, indent=1) + "\n")
    through = [one["case"] for one in told if not one["held_off"]]
    for name in through:
        print(f"poison: {name} got through", file=sys.stderr)
    return 1 if through else 0


def _tried(case: Case, honest: Work, gates_only: bool, console: Console) -> dict[str, Any]:
    started = time.monotonic()
    own = work_of_case(honest, case, FOLDER, honest.registry)
    with console.status(f"{case.name}: at the gates"):
        stopped = judged(own, case)
    outcome = None
    if not gates_only:
        console.print(f"{case.name}: past the gates, on a server")
        with shown(console) as view:
            outcome = served(own, honest, view, lambda stage: view.say(f"{stage}, with no gate in its way"))
    told = document(case, stopped, outcome)
    ended = "held off" if told["held_off"] else "GOT THROUGH"
    console.print(f"{case.name}: {ended} ({time.monotonic() - started:.0f} s)")
    return told


def document(case: Case, stopped: Stopped | None, outcome: Outcome | None) -> dict[str, Any]:
    """A case's row. Held off: a gate of its own name failed, and no server gave it all traffic."""
    by_gate = stopped is not None and stopped.first is not None
    by_server = outcome is None or _kept_away(outcome)
    return {
        "case": case.name,
        "meaning": case.meaning,
        "gate": None if stopped is None else stopped.first,
        "gates": [] if stopped is None else list(stopped.gates),
        "server": None if outcome is None else {"result": str(outcome.result), "reason": outcome.reason},
        "held_off": by_gate and by_server,
    }


def _kept_away(outcome: Outcome) -> bool:
    """Taken home by the server, or held by it for what it answers. One that was only not decided in time, that no
    worker could load, or that a person took back was not kept away for what it does."""
    if outcome.result is Result.ROLLED_BACK:
        by_itself = outcome.document.get("by") in (None, "", DRIFT_OPERATOR)
        return by_itself and outcome.document.get("ending") != End.REFUSED
    return outcome.result is Result.HELD and outcome.reason.startswith("The predictions of version ")


def _table(told: list[dict[str, Any]]) -> Table:
    table = Table("case", "what was done", "stopped by", "measured", "bound", "on", "on a server", box=None)
    for one in told:
        gate, server = one["gate"] or {}, one["server"] or {}
        figures = [f"{gate[key]:.4g}" if gate.get(key) is not None else "" for key in ("measured", "bound")]
        words = f"{server['result']}: {server['reason']}" if server else ""
        table.add_row(one["case"], one["meaning"], gate.get("name", "nothing"), *figures, gate.get("on", ""), words)
    return table


if __name__ == "__main__":
    sys.exit(main())
