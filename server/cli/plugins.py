"""Commands that other packages bring: entry points of the group `roost.commands`, each a function that takes the app.

Used by `application.py`. Always: what can't be loaded takes no command of ours away; where its own package is there,
and what it needs is not, one line says so.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import typer

GROUP: Final = "roost.commands"


def register_plugins(app: typer.Typer) -> None:
    """Add the commands of all installed packages that bring some."""
    for entry in entry_points(group=GROUP):
        try:
            entry.load()(app)
        except (Exception, SystemExit) as error:  # noqa: BLE001  whatever it is, `roost rollback` must work
            if not _is_left_out(entry, error):
                print(f"roost: no commands of {entry.name}: {type(error).__name__}: {error}", file=sys.stderr)


def _is_left_out(entry: EntryPoint, error: BaseException) -> bool:
    """An image that serves holds the server's folders only, and the list of entry points of the whole."""
    return isinstance(error, ModuleNotFoundError) and error.name == entry.module.partition(".")[0]
