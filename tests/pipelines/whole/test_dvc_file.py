"""dvc.yaml against the code: a stage is rerun when a module changes on which its result depends."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import STAGES
from pipelines.definition import EXAMPLES
from pipelines.parameters import fields

ROOT = Path(__file__).parents[3]
STAGES_OF_FILE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
WITHOUT_EFFECT = {
    "pipelines/code_digest.py",  # but for the bundle, whose stage depends on it
    "pipelines/downloads.py",  # but for the snapshot, likewise
    "pipelines/refusal.py",
    "pipelines/training/tracking.py",  # tells MLflow, and `beside`, which nothing depends on
}
"""What a stage loads, and what changes nothing of the files that it leaves."""
RUNS_THE_GRAPH = {
    f"registry_client/{name}.py" for name in ("graph_walk", "onnx_model", "reference_run", "tensors", "zipmap")
}


def imported(node: ast.AST) -> Iterator[str]:
    """Names of modules, wherever below the node they are imported, but for those that only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from imported(child)


def files_of(module: str) -> Iterator[Path]:
    """Of a module of ours: its file, and those of the packages above it; none where the name is no module's."""
    parts = module.split(".")
    own = ROOT.joinpath(*parts)
    if parts[0] not in ("pipelines", "registry_client") or not (own.is_dir() or own.with_suffix(".py").is_file()):
        return
    for count in range(1, len(parts) + 1):
        place = ROOT.joinpath(*parts[:count])
        yield place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def loaded(*roots: str) -> set[str]:
    """Files of ours that those files import, and what these import; relative to the repository."""
    waiting, found = [ROOT / root for root in roots], set[Path]()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            modules = imported(ast.parse(path.read_text()))
            waiting += [file for module in modules for file in files_of(module)]
    return {path.relative_to(ROOT).as_posix() for path in found}


def covered(path: str, deps: list[str]) -> bool:
    return any(path == dep or path.startswith(f"{dep}/") for dep in deps)


def test_the_file_has_every_stage_of_every_example_and_no_other() -> None:
    assert tuple(STAGES_OF_FILE) == STAGES
    for stage in STAGES_OF_FILE.values():
        assert tuple(stage["foreach"]) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("stage", STAGES[:-1])  # the last one always runs
def test_a_stage_is_rerun_when_any_module_changes_that_can_change_what_it_leaves(stage: str, name: str) -> None:
    deps = [dep.replace("${item}", name) for dep in STAGES_OF_FILE[stage]["do"]["deps"]]
    # The snapshot takes of an example its tables and how they are fetched; later stages take all of it, and files.
    part = "source" if stage == "snapshot" else "definition"
    of_stage = loaded(f"pipelines/stages/{stage}.py", f"pipelines/{name}/{part}.py")
    harmless = {path for path in of_stage if path in WITHOUT_EFFECT or path.endswith("__init__.py")}
    if stage not in ("snapshot", "features"):
        harmless |= {path for path in of_stage if path.startswith("pipelines/lake/")}
    if stage != "bundle":  # the bundle's form is none of theirs; what runs the graph is
        harmless |= {path for path in of_stage if path.startswith("registry_client/")} - RUNS_THE_GRAPH
    missing = {path for path in of_stage if not covered(path, deps)} - harmless
    assert not missing


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_depends_on_is_there(stage: str) -> None:
    known = {".".join(path[:count]) for path, _ in fields() for count in range(1, len(path) + 1)}
    done = STAGES_OF_FILE[stage]["do"]
    for name in EXAMPLES:
        for dep in (dep.replace("${item}", name) for dep in done["deps"]):
            earlier = dep.removeprefix(f".roost/pipelines/{name}/")
            assert earlier in STAGES[: STAGES.index(stage)] or (ROOT / dep).exists(), dep
    for key in done.get("params", []):
        assert key.removeprefix("${item}.") in known, key


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_the_check_finds_a_dependency_that_is_left_out(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = STAGES_OF_FILE[stage]["do"]
    kept = [dep for dep in done["deps"] if dep not in ("pipelines/work.py", "pipelines/definition.py")]
    monkeypatch.setitem(done, "deps", kept)
    with pytest.raises(AssertionError, match=r"pipelines/work\.py"):
        test_a_stage_is_rerun_when_any_module_changes_that_can_change_what_it_leaves(stage, EXAMPLES[0])
