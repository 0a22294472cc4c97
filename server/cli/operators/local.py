"""`roost rollback --local`: going home with the control process dead, through the server's memory on this machine.

Used by `changing`. It writes what the next control process then takes into journal and registry; while one lives it
refuses.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typer

from server.cli.operators.options import Change

GIVE_ITS_PID = "Give --pid instead: the file `lock` of its state folder has it."


def parent_pid(pid: int | None, ready_file: Path | None) -> int:
    """The process that `roost serve` is, by --pid or by `pid` of the ready file."""
    if (pid is None) is (ready_file is None):
        got = "none" if pid is None else "both"
        raise typer.BadParameter(
            f"expected --ready-file or --pid beside --local, got {got}: it is how the server is found on this machine.",
            param_hint="--local",
        )
    if pid is not None:
        return pid
    assert ready_file is not None
    try:
        found = json.loads(ready_file.read_bytes())["pid"]
    except OSError as error:
        text = f"expected the server's ready file, got {ready_file}: {error.strerror}. {GIVE_ITS_PID}"
        raise typer.BadParameter(text, param_hint="--ready-file") from error
    except (ValueError, KeyError, TypeError):
        found = None
    if type(found) is not int:
        text = f"expected the server's ready file, got {ready_file}, which names no pid. {GIVE_ITS_PID}"
        raise typer.BadParameter(text, param_hint="--ready-file")
    return found


def roll_back(change: Change, model: str, pid: int) -> None:
    """Does it and says what has become of it; exit code 1 where nothing was done."""
    from server.cli.operators.admin_port import EXIT_REFUSED, end
    from server.cli.operators.documents import print_json
    from server.control.break_glass import GlassHolds, roll_back_locally

    print("roost: opening the server's memory...", file=sys.stderr)  # loading what that takes is a second or two
    try:
        home = roll_back_locally(pid, model, change.operator, change.reason)
    except GlassHolds as why:
        end(EXIT_REFUSED, f"{str(why).rstrip('.')}.")
    if change.as_json:
        print_json(vars(home))
        return
    print(f"{home.model} is at revision {home.revision}; version {home.version} is stable, alone.")
    print("Journal and registry will have it once a control process is back.")
    if not home.following:
        print("roost: not every worker was seen to follow yet; `roost status` tells, later.", file=sys.stderr)
