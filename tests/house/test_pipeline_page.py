"""docs/reference/pipeline.md says what the code does: parameters, gates, stages, files, commands."""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer.main
from pydantic import BaseModel

from pipelines import STAGES
from pipelines.artifact import places
from pipelines.definition import EXAMPLES
from pipelines.evaluation import against_stable, inherited_population
from pipelines.evaluation import gates as gates_module
from pipelines.parameters import Comparison, Gates, fields, read_parameters
from pipelines.refusal import Refusal
from server.cli.application import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "pipeline.md").read_text()
FIELDS = fields()
GROUPS: Any = typer.main.get_command(app)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the section's one table, without its heading."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [re.split(r"(?<!\\) \| ", line[2:-2]) for line in lines[2:]]


def default_of(field: Any) -> str:
    """As params.yaml would have it."""
    return "see below" if _steps(field) else _yaml(field.default)


def _yaml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_yaml(one) for one in value)}]"
    return "null" if value is None else f"{value}"


def _steps(field: Any) -> bool:
    inner = get_args(field.annotation)
    return bool(inner) and isinstance(inner[0], type) and issubclass(inner[0], BaseModel)


def allowed_of(field: Any) -> str:
    """Bounds in words, from the types that check them."""
    annotation, metadata = field.annotation, field.metadata
    optional = get_origin(annotation) is types.UnionType
    if optional:
        annotation = next(one for one in get_args(annotation) if one is not types.NoneType)
    if get_origin(annotation) is Literal:
        return ", ".join(get_args(annotation))
    if get_origin(annotation) is tuple:
        return _many(field, annotation, metadata)
    text = f"{'whole numbers ' if annotation is int else ''}{_bounds(metadata)}"
    return f"null, or {text}" if optional else text


def _many(field: Any, annotation: Any, metadata: Any) -> str:
    inner = get_args(annotation)[0]
    most = next((one.max_length for one in metadata if hasattr(one, "max_length")), None)
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return "a list of steps"
    if inner is str:
        return "a list of KEY=VALUE" if "KEY=VALUE" in field.description else "a list of names"
    return f"a list of up to {most} whole numbers {_bounds(inner.__metadata__[0].metadata)}"


def _bounds(metadata: Any) -> str:
    low = high = ""
    for one in metadata:
        low = f"{one.ge:,}" if hasattr(one, "ge") else f"above {one.gt:,}" if hasattr(one, "gt") else low
        high = f"{one.le:,}" if hasattr(one, "le") else f"below {one.lt:,}" if hasattr(one, "lt") else high
    if not high:
        return low if low.startswith("above") else f"from {low}"
    return f"{low} to {high}"


# --- Tests -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("path", "field"), FIELDS, ids=[".".join(path) for path, _ in FIELDS])
def test_a_parameter_is_documented_with_default_range_and_meaning(path: tuple[str, ...], field: Any) -> None:
    meaning = field.description.replace("|", "\\|")
    row = f"| `{'.'.join(path)}` | `{default_of(field)}` | {allowed_of(field)} | {meaning} |"
    assert row in section("Parameters").splitlines()


def test_no_parameter_is_documented_that_does_not_exist() -> None:
    assert [row[0] for row in rows("Parameters")] == [f"`{'.'.join(path)}`" for path, _ in FIELDS]


def test_the_steps_of_a_plan_on_the_page_are_the_default_ones() -> None:
    steps = next(field for path, field in FIELDS if path == ("deploy", "steps")).default
    told = " ".join(section("Parameters").split())
    for step in steps:
        assert f"{step.weight * 100:g} % for {step.seconds:g} s and {step.requests:,} requests" in told
    assert {name for step in steps for name in type(step).model_fields} == set(re.findall(r"`([a-z]+)` \(", told))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_key_beyond_its_range_is_refused_with_a_word_of_this_page(name: str) -> None:
    with pytest.raises(Refusal, match=r"docs/reference/pipeline\.md lists the ranges"):
        read_parameters(name, ["train.seed=-1"])
    with pytest.raises(Refusal, match=r"Did you mean train\.seed\?"):
        read_parameters(name, ["train.sed=1"])


# --- Gates -----------------------------------------------------------------------------------------------------------
def gates_of_the_code() -> Iterator[tuple[str, str | None]]:
    """(gate, parameter) of each check that the module makes."""
    for node in ast.walk(ast.parse(Path(gates_module.__file__).read_text())):
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if isinstance(node, ast.Call) and called in ("Check", "_floor", "_shifted"):
            gate, parameter = (one.value if isinstance(one, ast.Constant) else ... for one in node.args[:2])
            if gate is not ...:
                yield gate, parameter


def test_every_gate_is_on_the_page_with_its_bound_and_no_other() -> None:
    told = {
        gate.strip("`"): None if bound.startswith("none") else bound.strip("`") for gate, bound, _ in rows("Gates")
    }
    assert told == dict(gates_of_the_code())


def test_the_gates_against_the_stable_version_are_on_the_page_with_their_bounds() -> None:
    source = (ROOT / "pipelines" / "evaluation" / "against_stable.py").read_text()
    told = {gate.strip("`"): bound.strip("`") for gate, bound, _ in rows("Against the stable version")}
    assert set(told) == {"comparison", "comparison_slice", inherited_population.GATE, against_stable.HISTORY}
    assert all(f"`{gate}`" in source for gate in told)
    assert {bound.removeprefix("comparison.") for bound in told.values()} <= set(Comparison.model_fields)


def test_every_bound_of_a_gate_is_used_by_one() -> None:
    bounds = {parameter for _, parameter in gates_of_the_code()} - {None}
    assert bounds | {"slice_rows_min"} == set(Gates.model_fields)


# --- Stages, files, commands -----------------------------------------------------------------------------------------
def test_every_stage_is_on_the_page_in_its_order() -> None:
    stages = [row[0].strip("`") for row in rows("Stages")]
    assert stages == [*STAGES, "deploy"]
    assert " -> ".join(stages) in PAGE


def test_every_file_that_stages_name_is_on_the_page() -> None:
    named: set[str] = set()
    for room in ("stages", "training", "artifact", "deploy"):
        for path in (ROOT / "pipelines" / room).glob("*.py"):
            named |= set(re.findall(r'"([a-z_]+\.(?:json|parquet|onnx|txt|npz|svg|md|html|lock))"', path.read_text()))
    # Of locks/, and of a server that was started for a while.
    named -= {"train.lock", "data.lock", "ready.json"}
    # Every bundle has it: the bundle's page tells of it.
    named.remove(places.MANIFEST_FILE)
    told = " ".join(cell for row in rows("Files") for cell in row) + section("Files")
    assert [name for name in sorted(named) if name not in told] == []


def test_every_variable_that_the_code_reads_is_on_the_page() -> None:
    told = {name for row in rows("Environment") for name in re.findall(r"`([A-Z_]+)`", row[0])}
    read: set[str] = set()
    for path in (ROOT / "pipelines").rglob("*.py"):
        read |= set(re.findall(r'"(ROOST_[A-Z_]+)"', path.read_text()))
    assert read == {name for name in told if name.startswith("ROOST_")}


@pytest.mark.parametrize("row", [pytest.param(row, id=row[0]) for row in rows("Commands")])
def test_a_command_is_on_the_page_with_its_flags_and_no_others(row: list[str]) -> None:
    called = re.match(r"`roost ([a-z ]+) ", row[0])
    assert called is not None
    command = GROUPS
    for word in called[1].split():
        command = command.commands[word]
    flags = {flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")} - {"--help"}
    assert set(re.findall(r"`(--[a-z-]+)`", row[1])) == flags


def test_every_command_of_the_pipelines_is_on_the_page() -> None:
    own = {name for name, command in GROUPS.commands.items() if command.callback is not None
           and command.callback.__module__ == "pipelines.commands"}  # fmt: skip
    own = own | {f"pipeline {name}" for name in GROUPS.commands["pipeline"].commands}
    assert {re.sub(r" [A-Z].*", "", row[0].removeprefix("`roost ")) for row in rows("Commands")} == own
