"""Tables and bars of drift on the terminal: features in order of concern, and one feature's traffic and reference."""

from __future__ import annotations

import math
import sys
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from protos.roost.v1 import admin_pb2

BOX: Final = box.SIMPLE_HEAD
FILE_COLUMNS: Final = 120
BAR_CHARACTERS: Final = 12
PSI_OF_FULL_BAR: Final = 0.4
FEATURES_SHOWN: Final = 20
STYLES: Final = {"drift": "bold red", "quiet": "green", "not_enough": "yellow"}
E_SHOWN_MAX: Final = 1e6
WHOSE: Final = {"model": "the model's", "same": "no large difference", "not_enough": "not enough"}
WHOSE_STYLES: Final = {"model": "bold red", "same": "green", "not_enough": "yellow"}


def print_drift(reply: admin_pb2.GetDriftReply, length: str, *, clear: bool = False) -> None:
    """What each signal's last window of this length says, and its features."""
    console = _console()
    if clear and console.is_terminal:
        console.clear()
    if reply.reason:
        console.print(f"{reply.model}: {reply.reason}", markup=False)
        _print_canary(console, reply.canary)
        return
    version = f", version {reply.artifact.version}" if reply.artifact.version else ""
    found = [window for window in reply.windows if window.length == length]
    if not found:
        others = " or ".join(f"--window {one}" for one in dict.fromkeys(window.length for window in reply.windows))
        console.print(f"{reply.model}{version}: no whole {length} yet. Ask for {others}.", markup=False)
    if reply.rows_between > 1:
        console.print(f"One row of {reply.rows_between} is counted: the model has many features.", markup=False)
    for window in found:
        title = f"{reply.model}{version}: {window.signal} of the {window.length} until {window.end_utc}, "
        console.print(Text(f"{title}{window.rows:,} rows"), soft_wrap=True)
        verdict = window.verdict.replace("_", " ")
        console.print(Text(f"{verdict}: ", style=STYLES[window.verdict]) + Text(window.why), soft_wrap=True)
        if window.features:
            console.print(_features(window))
    _print_canary(console, reply.canary)


def _print_canary(console: Console, canary: admin_pb2.CanaryDrift) -> None:
    """What its predictions say beside the stable's; nothing where no canary is on trial."""
    if not canary.HasField("artifact"):
        return
    title = f"canary, version {canary.artifact.version}: predictions beside the stable's"
    if canary.reason:
        console.print(f"{title}: {canary.reason}", markup=False)
        return
    console.print(
        Text(f"{title}, {canary.canary_rows:,} rows beside {canary.stable_rows:,}"), soft_wrap=True
    )
    console.print(
        Text(f"{WHOSE[canary.whose]}: ", style=WHOSE_STYLES[canary.whose]) + Text(canary.why), soft_wrap=True
    )
    if not canary.features:
        return
    table = Table(box=BOX)
    table.add_column("prediction")
    for name in ("PSI", "", "less bias", "+-", "a row in", "e-value"):
        table.add_column(name, justify="left" if not name else "right")
    for feature in canary.features[:FEATURES_SHOWN]:
        cells = (*_psi(feature), f"{feature.phi:.1f}", _e_value(feature.log_e))
        table.add_row(*(Text(cell) for cell in cells), style="bold red" if feature.moved else None)
    left = len(canary.features) - FEATURES_SHOWN
    if left > 0:
        table.caption = f"and {left:,} of less concern: --json shows all"
    console.print(table)


def print_feature(reply: admin_pb2.GetDriftReply, name: str, length: str) -> bool:
    """One feature's bins, reference beside the last window; False, and a line that says so, where there is none."""
    found = [counts for counts in reply.counts if counts.name == name]
    if not found and reply.reason:
        print(f"roost: {reply.model}: {reply.reason}", file=sys.stderr)
        return False
    if not found and not reply.counts:
        others = " or ".join(f"--window {one}" for one in dict.fromkeys(window.length for window in reply.windows))
        print(f"roost: {reply.model}: no whole {length} yet. Ask for {others}.", file=sys.stderr)
        return False
    if not found:
        known = ", ".join(counts.name for counts in reply.counts)
        print(f"roost: feature: expected one of {known}, got {name!r}. See roost drift.", file=sys.stderr)
        return False
    for counts in found:
        reference, window = sum(counts.reference), sum(counts.window)
        table = Table("bin", "reference", "", "traffic", "", box=BOX, title=f"{counts.signal}: {name}")
        most = max(
            max(counts.reference) / max(reference, 1), max(counts.window) / max(window, 1), sys.float_info.min
        )
        for label, before, now in zip(counts.bins, counts.reference, counts.window, strict=True):
            was, is_ = before / max(reference, 1), now / max(window, 1)
            cells = (label, f"{was:.1%}", _bar(was / most), f"{is_:.1%}", _bar(is_ / most))
            table.add_row(*(Text(cell) for cell in cells))
        _console().print(table)
    return True


def _features(window: admin_pb2.DriftWindow) -> Table:
    table = Table(box=BOX)
    table.add_column("feature")
    table.add_column("PSI", justify="right")
    table.add_column("")
    table.add_column("less bias", justify="right")
    table.add_column("+-", justify="right")
    table.add_column("rule of thumb")
    table.add_column("rows worth", justify="right")
    table.add_column("e-value", justify="right")
    table.add_column("weight", justify="right")
    for feature in window.features[:FEATURES_SHOWN]:
        cells = (
            *_psi(feature),
            feature.rule_of_thumb,
            f"{feature.effective_rows:,.0f}",
            _e_value(feature.log_e),
            f"{feature.weight:.1%}",
        )
        table.add_row(*(Text(cell) for cell in cells), style="bold red" if feature.moved else None)
    left = len(window.features) - FEATURES_SHOWN
    if left > 0:
        table.caption = f"and {left:,} of less concern: --json shows all"
    return table


def _psi(feature: admin_pb2.FeatureDrift | admin_pb2.CanaryFeature) -> tuple[str, ...]:
    """The first five cells: its name, PSI, a bar, PSI less its bias, and by how much that may be off."""
    return (
        feature.name,
        f"{feature.psi:.3f}",
        _bar(feature.psi_debiased / PSI_OF_FULL_BAR),
        f"{feature.psi_debiased:.3f}",
        f"{feature.standard_error:.3f}",
    )


def _bar(share: float) -> str:
    """share: of a full bar, 0 to 1."""
    return "█" * round(BAR_CHARACTERS * min(max(share, 0.0), 1.0))


def _e_value(log_e: float) -> str:
    if log_e > math.log(E_SHOWN_MAX):
        return f"10^{log_e / math.log(10):,.0f}"
    return f"{math.exp(log_e):.3g}"


def _console() -> Console:
    # Into a pipe or a file, rich would fold tables at 80 columns.
    console = Console()
    return console if console.is_terminal else Console(width=FILE_COLUMNS)
