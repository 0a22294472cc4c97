"""Tables on the terminal: what all models serve, and what was counted for and against a canary."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from protos.roost.v1 import admin_pb2
from server.cli.operators.sentences import notes, plan_text
from server.lifecycle.explain import share


def print_models(models: Iterable[admin_pb2.ModelState]) -> None:
    table = Table("model", "revision", "stable", "canary", "share", "verdict", "plan", "shadow", "last safe", "notes")
    for model in models:
        canary = model.HasField("canary")
        _add(
            table,
            model.name,
            model.revision,
            model.stable.version or "none",
            model.canary.version,
            share(model.weight_ppm) if canary else "",
            (model.rollout.verdict or model.rollout.phase).replace("_", " ") if canary else "",
            plan_text(model.rollout) if canary else "",
            model.shadow.version,
            model.last_safe.version,
            "; ".join(notes(model)),
        )
    Console().print(table)


def print_evidence(reply: admin_pb2.GetEvidenceReply) -> None:
    """Counts while each pair of weights stood, then what they say of each signal."""
    counted = Table("share", "arm", "requests", "errors", "non-finite", "timeouts")
    for epoch in reply.epochs:
        for name, arm in (("stable", epoch.stable), ("canary", epoch.canary)):
            weight = share(epoch.canary_ppm) if name == "canary" else share(1_000_000 - epoch.canary_ppm)
            _add(counted, weight, name, *(f"{n:,}" for n in (arm.requests, arm.errors, arm.non_finite, arm.timeouts)))
    signals = Table("signal", "stable", "canary", "E worse", "E not worse", "odds ratio")
    for signal in reply.signals:
        high = f"{signal.odds_ratio_high:.3g}" if signal.odds_ratio_high < 1e300 else "no bound"
        odds = f"{signal.odds_ratio_low:.3g} to {high}"
        events = f"{signal.stable_events:,}", f"{signal.canary_events:,}"
        _add(
            signals, signal.name.replace("_", "-"), *events, f"{signal.e_worse:.3g}", f"{signal.e_not_worse:.3g}", odds
        )
    for table in (counted, signals):
        if table.row_count:
            Console().print(table)


def _add(table: Table, *cells: object) -> None:
    # Text: what servers and registries hold is no markup, whatever brackets are in it.
    table.add_row(*(Text(str(cell)) for cell in cells))
