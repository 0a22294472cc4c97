"""Commands that other packages bring are added, and none of them can take our own away."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from server.cli import plugins
from server.cli.application import app


def brought(app: typer.Typer) -> None:
    @app.command("hello")
    def hello() -> None:
        print("hello")


def broken(app: typer.Typer) -> None:
    raise RuntimeError("no such luck")


def with_entries(monkeypatch: pytest.MonkeyPatch, **values: str) -> typer.Typer:
    entries = [EntryPoint(name, value, plugins.GROUP) for name, value in values.items()]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries if group == plugins.GROUP else [])
    app = typer.Typer()
    app.command("own")(lambda: print("own"))
    plugins.register_plugins(app)
    return app


def test_what_a_package_brings_is_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    app = with_entries(monkeypatch, good=f"{__name__}:brought")
    assert CliRunner().invoke(app, ["hello"]).output == "hello\n"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (f"{__name__}:broken", "no commands of bad: RuntimeError: no such luck"),
        ("json:nothing_of_this_name", "no commands of bad: AttributeError"),
        ("no_package_of_ours:register", ""),
        ("pipelines.no_file_of_ours:register", ""),
    ],
)
def test_what_cannot_be_loaded_takes_no_command_away(
    value: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = with_entries(monkeypatch, bad=value, good=f"{__name__}:brought")
    assert says in capsys.readouterr().err
    runner = CliRunner()
    assert [runner.invoke(app, [name]).output for name in ("own", "hello")] == ["own\n", "hello\n"]


def test_the_pipelines_are_found_by_their_entry_point() -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    assert all(name in said for name in ("train", "pipeline", "score"))
