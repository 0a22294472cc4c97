"""What a run of swaps found, as a table on the terminal and as JSON, beside what was promised.

Used by `python -m benchmarks.swaps`. Pure. Always: both show the same figures, and neither names a host or a path.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import Machine
from benchmarks.swaps.measured import LOAD_SHARE, Found, Pair
from benchmarks.targets import TARGET_COLUMNS, Target

FLIP_P99_MAX = 1.2
SWAP_P99_MAX = 1.5
LATE_MS_MAX = 10.0
GROWTH_MAX = 1.1


def targets(found: Found, flips: int, swaps: int) -> list[Target]:
    """What was promised, and what came of it. flips, swaps: how many there had to be."""
    unanswered = found.sent - found.right - found.wrong - found.failed - found.lost
    return [
        Target("weight flips", flips, True, found.flips),
        Target("swaps to other digests", swaps, True, found.swaps),
        Target("requests failed or unanswered", 0, False, found.failed + found.lost + unanswered),
        Target("requests answered wrongly", 0, False, found.wrong),
        Target("p99 during flips, to quiet", FLIP_P99_MAX, False, found.flip_ratio),
        Target("p99 during swaps, to quiet", SWAP_P99_MAX, False, found.swap_ratio),
        Target("last reply after Rollback's, p50 ms", LATE_MS_MAX, False, percentile(found.late_ms, 50)),
        Target("last reply after Rollback's, p99 ms", LATE_MS_MAX, False, percentile(found.late_ms, 99)),
        Target("the worker's memory, to before", GROWTH_MAX, False, found.growth),
    ]


def percentile(values: Sequence[float], which: float) -> float:
    return float(np.percentile(values, which))


def show(found: Found, promises: Sequence[Target], console: Console) -> None:
    figures = Table(title="Swaps under a verified load")
    figures.add_column("what")
    figures.add_column("figure", justify="right")
    for what, figure in _figures(found):
        figures.add_row(what, figure)
    console.print(figures)
    table = Table(*TARGET_COLUMNS)
    for one in promises:
        table.add_row(*one.row)
    console.print(table)
    for (status, message), count in found.failures.items():
        console.print(f"failed: status {status}, {count} times: {message}")


def as_json(found: Found, promises: Sequence[Target], machine: Machine, command: str) -> str:
    document: dict[str, Any] = {
        "machine": machine.as_dict(),
        "command": command,
        "flip_capacities_per_s": found.flip_capacities,
        "swap_capacities_per_s": found.swap_capacities,
        "others_shares": found.others_shares,
        "load_share": LOAD_SHARE,
        "flips": found.flips,
        "swaps": found.swaps,
        "requests": {
            "sent": found.sent,
            "right": found.right,
            "wrong": found.wrong,
            "failed": found.failed,
            "lost": found.lost,
        },
        "flip_pairs": [{"quiet_p99_us": pair.quiet_us, "busy_p99_us": pair.busy_us} for pair in found.flip_pairs],
        "swap_pairs": [{"quiet_p99_us": pair.quiet_us, "busy_p99_us": pair.busy_us} for pair in found.swap_pairs],
        "load_s": found.load_s,
        "rollback_ms": found.rollback_ms,
        "late_ms": found.late_ms,
        "rss_before_bytes": found.rss_before,
        "rss_after_bytes": found.rss_after,
        "targets": [one.as_dict() for one in promises],
    }
    return json.dumps(document, indent=1)


def _figures(found: Found) -> list[tuple[str, str]]:
    def spread(values: Sequence[float]) -> str:
        return f"{percentile(values, 50):,.1f} / {percentile(values, 99):,.1f}"

    return [
        ("capacity beside a canary, requests/s (median; least; most)", _range(found.flip_capacities)),
        ("load during flips, requests/s", _range([LOAD_SHARE * one for one in found.flip_capacities])),
        ("capacity without a canary, requests/s", _range(found.swap_capacities)),
        ("load during swaps, requests/s", _range([LOAD_SHARE * one for one in found.swap_capacities])),
        ("share of the server's core that others took then, at most", f"{max(found.others_shares):.0%}"),
        ("requests answered, each one checked", f"{found.right + found.wrong:,}"),
        ("p99 beside a canary, quiet / during flips, us (medians)", _medians(found.flip_pairs)),
        ("p99 without one, quiet / during swaps, us", _medians(found.swap_pairs)),
        ("a version tried, loaded, warm and started, s (p50 / p99)", spread(found.load_s)),
        ("Rollback, asked to told, ms (p50 / p99)", spread(found.rollback_ms)),
        ("after it, last reply of what went, ms (p50 / p99)", spread(found.late_ms)),
        ("worker's memory before / after, MiB", f"{found.rss_before / 2**20:.0f} / {found.rss_after / 2**20:.0f}"),
    ]


def _range(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f}; {min(values):,.0f}; {max(values):,.0f}"


def _medians(pairs: Sequence[Pair]) -> str:
    quiet_us, busy_us = (statistics.median(getattr(pair, name) for pair in pairs) for name in ("quiet_us", "busy_us"))
    return f"{quiet_us:,.0f} / {busy_us:,.0f}"
