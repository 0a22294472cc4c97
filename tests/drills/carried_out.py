"""Drills carried out once for all tests of this room, beside each other: most of their time is waiting for a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.drills import bad_canary, sudden_drift
from server.drills.carrying_out import Drill, carry_out
from server.drills.report import Report

DRILL_S_MAX = 400
POISONED = {"ROOST_WEBHOOKS": "not even JSON", "ROOST_ADMIN": "127.0.0.1:1", "ROOST_DRIFT__INPUTS": "nonsense"}
"""What somebody may have in the environment: no drill may take any notice."""


@dataclass(frozen=True)
class Ended:
    """`roost drill` as people run it. folder: of its report."""

    code: int
    said: str
    told: str
    folder: Path

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return found

    @property
    def page(self) -> str:
        return (self.folder / "report.md").read_text()


@dataclass(frozen=True)
class Everything:
    ended: dict[str, Ended]
    sabotaged: dict[str, Report]


def _run(folder: Path, name: str, *options: str) -> Ended:
    into = folder / name
    done = subprocess.run(
        [sys.executable, "-m", "server.cli", "drill", name, "--report", str(into), *options],
        cwd=Path(__file__).parents[2],
        env=os.environ | POISONED,
        capture_output=True,
        text=True,
        timeout=DRILL_S_MAX,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr, into)


def _sabotaged(folder: Path, drill: Drill) -> Report:
    into = folder / f"sabotaged-{drill.name}"
    into.mkdir()
    return carry_out(drill, into, lambda line: None)


def carried_out(folder: Path) -> Everything:
    """Both drills, and both with their incident left out."""
    with ThreadPoolExecutor() as pool:
        drift = pool.submit(_run, folder, "sudden-drift", "--json")
        no_shift = pool.submit(_sabotaged, folder, sudden_drift.drill(shift_sd=0.0))
        canary = pool.submit(_run, folder, "bad-canary", "--break-glass", "--keep")
        canary.result()
        good_canary = pool.submit(_sabotaged, folder, bad_canary.drill(bad=False, home_s_max=4.0))
        return Everything(
            {"sudden-drift": drift.result(), "bad-canary": canary.result()},
            {"sudden-drift": no_shift.result(), "bad-canary": good_canary.result()},
        )
