"""Tables on the terminal: what all models serve, and what was counted for and against a canary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from protos.roost.v1 import admin_pb2
from server.cli.operators.sentences import notes, plan_text
from server.lifecycle.explain import share

BOX: Final = box.SIMPLE_HEAD
FILE_COLUMNS: Final = 240


def print_models(models: Iterable[admin_pb2.ModelState]) -> None:
    """A model a line. Columns that would be empty are left out."""
    rows = [_cells(model) for model in models]
    names = [name for name in (rows[0] if rows else ()) if any(row[name] for row in rows)]
    table = Table(*names, box=BOX)
    for row in rows:
        _add(table, *(row[name] for name in names))
    _console().print(table)


def _cells(model: admin_pb2.ModelState) -> dict[str, str]:
    canary = model.HasField("canary")
    return {
        "model": model.name,
        "revision": str(model.revision),
        "stable": model.stable.version or "none",
        "canary": model.canary.version,
        "share": share(model.weight_ppm) if canary else "",
        "verdict": (model.rollout.verdict or model.rollout.phase).replace("_", " ") if canary else "",
        "plan": plan_text(model.rollout) if canary else "",
        "shadow": model.shadow.version,
        "last safe": model.last_safe.version,
        "notes": "; ".join(notes(model)),
    }


def print_evidence(reply: admin_pb2.GetEvidenceReply) -> None:
    """Counts while each pair of weights stood, then what they say of each signal."""
    counted = Table("share", "arm", "requests", "units", "errors", "non-finite", "timeouts", box=BOX)
    for epoch in reply.epochs:
        for name, arm in (("stable", epoch.stable), ("canary", epoch.canary)):
            weight = share(epoch.canary_ppm) if name == "canary" else share(1_000_000 - epoch.canary_ppm)
            of_kinds = (
                (arm.errors, arm.errors_all), (arm.non_finite, arm.non_finite_all), (arm.timeouts, arm.timeouts_all),
            )  # fmt: skip
            units = f"{arm.units:,}" if name == "canary" else ""
            _add(counted, weight, name, f"{arm.requests:,}", units, *(_first_of(*counts) for counts in of_kinds))
    signals = Table("signal", "stable", "canary", "E worse", "E not worse", "odds ratio", box=BOX)
    for signal in reply.signals:
        high = f"{signal.odds_ratio_high:.3g}" if signal.odds_ratio_high < 1e300 else "no bound"
        odds = f"{signal.odds_ratio_low:.3g} to {high}"
        events = f"{signal.stable_events:,}", f"{signal.canary_events:,}"
        _add(
            signals, signal.name.replace("_", "-"), *events, f"{signal.e_worse:.3g}", f"{signal.e_not_worse:.3g}", odds
        )
    if reply.e_worse:  # an older server says nothing of it
        _add(signals, "together", "", "", f"{reply.e_worse:.3g}", "", "")
    for table in (counted, signals):
        if table.row_count:
            _console().print(table)


def _first_of(first: int, each: int) -> str:
    """First events of keys, of all events where there are more."""
    return f"{first:,} of {each:,}" if each > first else f"{first:,}"


def _console() -> Console:
    # Into a pipe or a file, rich would fold tables at 80 columns.
    console = Console()
    return console if console.is_terminal else Console(width=FILE_COLUMNS)


def _add(table: Table, *cells: object) -> None:
    # Text: what servers and registries hold is no markup, whatever brackets are in it.
    table.add_row(*(Text(str(cell)) for cell in cells))
