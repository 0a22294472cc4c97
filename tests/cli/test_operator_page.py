"""docs/reference/commands.md names each of the operators' commands with its arguments and options, and no others."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from server.cli.application import app
from server.cli.operators import changing, looking
from server.cli.operators.options import ADMIN_DEFAULT, ADMIN_VARIABLE, NO_REASON, OPERATOR_VARIABLE, TIMEOUT_S
from server.control.event_log import EVENTS_MAX

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/commands.md").read_text()
GUIDES = ("docs/reference/commands.md", "docs/guides/canaries.md", "README.md")
WRITTEN = [
    pytest.param(shlex.split(line.partition(" | ")[0]), id=line)
    for page in GUIDES
    for line in re.findall(r"^\$ (?:\.venv/bin/)?roost (.+)$", (ROOT / page).read_text(), re.M)
]
LOOKING = {"--admin", "--timeout", "--json"}
CHANGING = {"--reason", "--operator", "--request-id", "--if-revision"}
CHANGES = {command.__name__ for command in changing.COMMANDS}


def commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    names = [command.__name__ for command in (*looking.COMMANDS, *changing.COMMANDS)]
    found = {name: group.commands[name] for name in names}
    return found | {f"journal {name}": one for name, one in group.commands["journal"].commands.items()}


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def told() -> dict[str, tuple[str, set[str]]]:
    """By command: its arguments as they are written, and its options."""
    rows = re.findall(r"^\| `roost ([a-z ]+?)((?: \[?[A-Z]+\]?)?)` \|([^|]*)\|", section("Operators' commands"), re.M)
    return {name: (arguments.strip(), set(re.findall(r"--[a-z-]+", options))) for name, arguments, options in rows}


def options_of(command: Any) -> set[str]:
    return {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")} - {"--help"}


def test_the_page_has_every_command_and_no_other() -> None:
    assert told().keys() == commands().keys()


@pytest.mark.parametrize("name", commands())
def test_a_command_is_on_the_page_with_its_argument_and_its_options(name: str) -> None:
    command = commands()[name]
    arguments, options = told()[name]
    [written] = [
        one.metavar if one.required else f"[{one.metavar}]"
        for one in command.params
        if one.param_type_name == "argument"
    ] or [""]
    assert arguments == written
    assert options == options_of(command) - LOOKING - CHANGING


@pytest.mark.parametrize("name", commands())
def test_a_command_has_the_shared_options_and_an_example(name: str) -> None:
    command = commands()[name]
    assert LOOKING <= options_of(command)
    assert (CHANGING <= options_of(command)) is (name in CHANGES)
    assert re.search(rf"^\s*roost {name}\b", command.help or "", re.M)


def test_the_shared_options_are_on_the_page_with_their_defaults() -> None:
    body = section("Options that they share")
    rows = dict(re.findall(r"^\| `(--[a-z-]+)[^`]*` \|([^|]*)\|", body, re.M))
    rows = {option: default.strip() for option, default in rows.items()}
    assert rows.keys() == LOOKING | CHANGING
    assert rows["--admin"] == f"`{ADMIN_DEFAULT}`, or `{ADMIN_VARIABLE}`"
    assert rows["--timeout"] == f"{TIMEOUT_S:g}; {changing.LOADING_S:g} where a version is loaded"
    assert rows["--reason"] == f"`{NO_REASON}`"
    assert f"`{OPERATOR_VARIABLE}`" in rows["--operator"]


def test_the_number_of_events_on_the_page_is_the_servers() -> None:
    assert f"{EVENTS_MAX:,} events are kept" in PAGE


@pytest.mark.parametrize("arguments", WRITTEN)
def test_a_command_on_a_page_is_one_that_the_command_line_takes(arguments: list[str]) -> None:
    group: Any = typer.main.get_command(app)
    context = group.make_context("roost", list(arguments))
    name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
    if name == "journal":
        name, command, rest = command.resolve_command(context, rest)
    command.make_context(name, rest, parent=context)
