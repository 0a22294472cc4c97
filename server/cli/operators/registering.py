"""Adds the operators' commands to the console script's."""

from __future__ import annotations

import typer

from server.cli.operators import changing, journal, looking


def register(app: typer.Typer) -> None:
    for command in (*looking.COMMANDS, *changing.COMMANDS):
        app.command(command.__name__)(command)
    app.add_typer(journal.app, name="journal")
