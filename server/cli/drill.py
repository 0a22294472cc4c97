"""`roost drill`: an incident of a runbook, staged on a server of its own, walked through, and reported.

Always: exit code 0 where all that was expected held, 1 where something did not (the report says what), 2 where the
command line is wrong; progress on standard error, the result on standard output.
"""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    # Imported by the command alone: onnx and ONNX Runtime would slow every other start of `roost`.
    from server.drills.carrying_out import Drill
    from server.drills.report import Report

EXIT_FAILED = 1


class Name(Enum):
    """The incidents that there are."""

    SUDDEN_DRIFT = "sudden-drift"
    BAD_CANARY = "bad-canary"


def drill(
    name: Annotated[Name, typer.Argument(metavar="NAME", show_default=False, help="sudden-drift or bad-canary.")],
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default="./roost-drill-NAME-TIME",
            help="Where report.md, report.json and the server's log go; a new or empty folder.",
        ),
    ] = None,
    break_glass: Annotated[
        bool,
        typer.Option("--break-glass", help="With bad-canary: then go home with the control process dead, too."),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder in which the drill's server ran.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON instead of a summary.")] = False,
) -> None:
    """Practise an incident: stage it on a local server of its own, walk through its runbook, and write a report.

    \b
    roost drill sudden-drift
    roost drill bad-canary --break-glass --report drills/2026-11-28

    \b
    sudden-drift  An input moves while a rollout is under way. One to two and a half minutes, since windows are
                  real minutes. Runbook: docs/runbooks/sudden-drift.md
    bad-canary    A canary that passed every check answers NaN to some callers, and goes home. Half a minute.
                  Runbook: docs/runbooks/bad-canary.md

    The server is started for the drill, on free ports of this machine, with a small model of its own; a server that
    runs here already is neither asked nor changed. The report has when, which versions, what was staged, a timeline,
    every command with its real output, how long it took to detect and to decide, and what was expected and held. File
    it: a runbook that was practised is one that can be believed at night.

    Exit code 0: all that was expected held. 1: something did not, and the report says what.
    """
    if break_glass and name is not Name.BAD_CANARY:
        raise typer.BadParameter(f"expected it with bad-canary, got it with {name.value}.", param_hint="--break-glass")
    into = report or Path(f"roost-drill-{name.value}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    _make_room(into)
    from server.drills import bad_canary, sudden_drift

    # As Ctrl-C does: the drill's server is stopped, not left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = bad_canary.drill(break_glass=break_glass) if name is Name.BAD_CANARY else sudden_drift.drill()
    raise typer.Exit(carried_out(chosen, into, keep=keep, as_json=as_json))


def carried_out(drill: Drill, into: Path, *, keep: bool = False, as_json: bool = False) -> int:
    """Runs it with its progress shown, says what came of it, and returns the exit code."""
    from rich.console import Console
    from rich.markup import escape

    from server.drills.carrying_out import carry_out
    from server.drills.report import document

    console = Console(stderr=True)
    began_s = time.monotonic()
    with console.status(f"{drill.name}: starting a server") as status:

        def said(line: str) -> None:
            console.print(f"{time.monotonic() - began_s:6.1f} s  {line}", markup=False, highlight=False, soft_wrap=True)
            status.update(escape(f"{drill.name}: {line[:100]}"))

        report = carry_out(drill, into, said, keep=keep)
    if as_json:
        print(json.dumps(document(report)))
    else:
        _print_summary(report, into, Console())
    return 0 if report.passed else EXIT_FAILED


def _make_room(into: Path) -> None:
    """The report's folder, before a minute is spent on the drill."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        taken = any(into.iterdir())
    except OSError as error:
        raise typer.BadParameter(
            f"expected a folder to write in, got {into}: {error.strerror}.", param_hint="--report"
        ) from None
    if taken:
        raise typer.BadParameter(
            f"expected a new or empty folder, got {into}, which has files. Name another one.", param_hint="--report"
        )


def _print_summary(report: Report, into: Path, console: Console) -> None:
    verdict = "passed" if report.passed else "FAILED"
    lines = [f"{report.drill}: {verdict}"]
    for label, seconds in (("time to detect", report.to_detect_s), ("time to decide", report.to_decide_s)):
        lines.append(f"  {label:<16} {'never' if seconds is None else f'{seconds:.2f} s'}")
    lines += [f"  {name}: {value:,}" for name, value in report.counts.items()]
    for one in report.expectations:
        lines.append(f"  {'held  ' if one.held else 'FAILED'} {one.text}: {one.found}")
    lines.append(f"The report is in {into}: report.md, report.json.")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

