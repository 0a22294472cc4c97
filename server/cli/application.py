"""Puts the commands together. `main` is the console script `roost`."""

from __future__ import annotations

from typing import Annotated

import typer

from server.cli import baselines, bundles
from server.cli.doctor import doctor
from server.cli.drill import drill
from server.cli.lineage import lineage
from server.cli.operators.registering import register as register_operators
from server.cli.plugins import register_plugins
from server.cli.replay import replay
from server.cli.serve import serve
from server.cli.signing import sign
from server.cli.warm import warm_command
from server.version import VERSION

app = typer.Typer(
    name="roost",
    help="A model inference server that brings its canaries home.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve)
app.command("warm")(warm_command)
app.command()(doctor)
app.command()(drill)
bundles.register(app)
app.command()(sign)
app.add_typer(baselines.app, name="baseline")
app.command()(replay)
app.command()(lineage)
register_operators(app)
register_plugins(app)


def _version_and_end(wanted: bool) -> None:
    if wanted:
        print(VERSION)
        raise typer.Exit


@app.callback()
def roost(
    version: Annotated[
        bool, typer.Option("--version", callback=_version_and_end, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """A model inference server that brings its canaries home."""


@app.command()
def version() -> None:
    """Print the version."""
    print(VERSION)


def main() -> None:
    app()
