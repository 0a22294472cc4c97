"""`python -m benchmarks.calibration.drift_peers`: the same streams, judged by River's ADWIN and Evidently's PSI too.

Run by `make calibrate-peers`, in an environment of its own (`locks/peers.lock`), since nothing else of Roost needs
either library. Prints a table, writes build/calibration-peers.json.
ADWIN as River has it by default (delta 0.002), one for each feature, fed row by row; it is no comparison with a
reference. Evidently's `psi_stat_test` as it is by default (from 0.1, against rows of its reference, of which it has
20,000 here). Either alarms where a single feature does, as ours does. A missing value is fed to neither: ADWIN takes
none, Evidently drops them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests import psi_stat_test
from evidently.legacy.core import ColumnType
from rich.console import Console
from rich.table import Table
from river.drift import ADWIN

from benchmarks.calibration.drift_streams import LIMITS
from benchmarks.calibration.drift_worlds import NONE, DriftWorld, Shift, Stream
from server.judgement.drift.judge import judge
from server.judgement.drift.report import Verdict
from server.judgement.drift.state import beginning

FEATURES: Final = 16
ROWS: Final = 1_000
QUIET_WINDOWS: Final = 20
REFERENCE_ROWS: Final = 20_000
EVIDENTLY_FROM: Final = 0.1
NAMES: Final = ("Roost, alarm", "Roost, detector alone", "River ADWIN", "Evidently PSI")
WORLDS: Final = (
    ("quiet", NONE),
    ("0.1 sd in 1", Shift(1, sigmas=0.1)),
    ("0.1 sd in 5", Shift(5, sigmas=0.1)),
    ("0.3 sd in 1", Shift(1, sigmas=0.3)),
    ("0.3 sd in 5", Shift(5, sigmas=0.3)),
    ("1 sd in 1", Shift(1, sigmas=1.0)),
    ("1 sd in 5", Shift(5, sigmas=1.0)),
    ("missing 0 -> 2 % in 1", Shift(1, missing=0.02)),
    ("missing 0 -> 2 % in 5", Shift(5, missing=0.02)),
)


def one_stream(seed: Sequence[int], shift: Shift, windows: int) -> tuple[list[int], list[int]]:
    """By NAMES: alarms in the QUIET_WINDOWS windows before the shift, and the first window with one after it, or -1."""
    rng = np.random.default_rng(seed)
    world = DriftWorld(FEATURES, ROWS, categories=False)
    stream = Stream(world, rng)
    state = beginning(stream.reference)
    reference = pd.DataFrame(rng.standard_normal((REFERENCE_ROWS, FEATURES)))
    adwins = [ADWIN() for _ in range(FEATURES)]
    moved = np.arange(FEATURES) < shift.features
    before, first = [0] * len(NAMES), [-1] * len(NAMES)
    for index in range(-QUIET_WINDOWS, windows):
        values = stream.values((index >= 0) * shift.sigmas * moved, (index >= 0) * shift.missing * moved)
        judged = judge(stream.reference, stream.counted(values), state, LIMITS)
        state = judged.state
        alarms = (
            judged.report.verdict is Verdict.DRIFT,
            judged.report.log_r >= LIMITS.log_threshold,
            _adwin_alarms(adwins, values),
            _evidently_alarms(reference, values),
        )
        for name, alarm in enumerate(alarms):
            before[name] += alarm and index < 0
            if alarm and index >= 0 and first[name] < 0:
                first[name] = index
    return before, first


def _adwin_alarms(adwins: list[Any], values: np.ndarray) -> bool:
    found = False
    for adwin, column in zip(adwins, values.T, strict=True):
        for value in column[~np.isnan(column)].tolist():
            adwin.update(value)
            found = found or adwin.drift_detected
    return found


def _evidently_alarms(reference: pd.DataFrame, values: np.ndarray) -> bool:
    current = pd.DataFrame(values)
    return any(
        psi_stat_test.func(reference[name], current[name].dropna(), ColumnType.Numerical, EVIDENTLY_FROM)[1]
        for name in reference.columns
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration.drift_peers")
    parser.add_argument("--streams", type=int, default=10, help="of each kind")
    parser.add_argument("--windows", type=int, default=60, help="after the shift, of 1,000 rows")
    parser.add_argument("--out", type=Path, default=Path("build/calibration-peers.json"))
    given = parser.parse_args(arguments)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    started, rows = time.monotonic(), []
    for number, (world, shift) in enumerate(WORLDS):
        found = [one_stream([number, n], shift, given.windows) for n in range(given.streams)]
        for name, title in enumerate(NAMES):
            first = np.array([stream[1][name] for stream in found])
            waited = np.where(first < 0, np.inf, first + 1.0)
            median = float(np.quantile(waited, 0.5, method="lower"))
            rows.append(
                {
                    "world": world,
                    "judge": title,
                    "streams": given.streams,
                    "false_alarm_windows": sum(stream[0][name] for stream in found),
                    "quiet_windows": given.streams * QUIET_WINDOWS,
                    "alarmed": int((first >= 0).sum()),
                    "median_windows": None if np.isinf(median) else int(median),
                    "median_rows": None if np.isinf(median) else int(median) * ROWS,
                }
            )
        console.print(f"{world}: {time.monotonic() - started:.0f} s")
    table = Table(title=f"{FEATURES} features, windows of {ROWS:,} rows", title_justify="left")
    for column in ("world", "judge", "quiet windows that alarmed", "alarmed", "median windows", "rows"):
        table.add_column(column, justify="left" if column in ("world", "judge") else "right")
    for row in rows:
        table.add_row(
            row["world"],
            row["judge"],
            f"{row['false_alarm_windows']} of {row['quiet_windows']}",
            f"{row['alarmed']} of {row['streams']}",
            "never" if row["median_windows"] is None else f"{row['median_windows']:,}",
            "" if row["median_rows"] is None else f"{row['median_rows']:,}",
        )
    console.print(table)
    versions = {name: version(name) for name in ("river", "evidently", "numpy", "pandas")}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"versions": versions, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    console.print(f"River {versions['river']}, Evidently {versions['evidently']}; figures in {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
