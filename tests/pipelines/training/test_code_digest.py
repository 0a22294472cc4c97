"""The code's digest: a changed line changes it and is named; what a bundle does not depend on does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines import STAGES
from pipelines import code_digest as module
from pipelines.code_digest import PIPELINES, ROOMS, SUFFIXES, code_digest
from pipelines.definition import EXAMPLES
from tests.pipelines.whole.test_dvc_file import loaded


@dataclass
class Example:
    """As much of a definition as is asked for."""

    folder: Path


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packages somewhere else."""
    copy = tmp_path / "elsewhere" / "pipelines"
    for package in (PIPELINES, PIPELINES.parent / "registry_client"):
        shutil.copytree(package, copy.parent / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PIPELINES", copy)
    return copy


def digest_of(root: Path, name: str = "employment") -> dict[str, Any]:
    return code_digest(Example(root / name))  # type: ignore[arg-type]


def test_a_clone_elsewhere_has_the_same_digest(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = digest_of(clone)
    monkeypatch.undo()
    assert digest_of(PIPELINES) == there


OURS = ("pipelines/examples.py", "pipelines/features/graph.py", "pipelines/stages/train.py")


@pytest.mark.parametrize("name", [*OURS, "registry_client/baseline/fitting.py", "registry_client/manifest.py"])
def test_one_changed_line_changes_the_whole_and_names_the_file(name: str, clone: Path) -> None:
    before = digest_of(clone)
    with (clone.parent / name).open("a") as file:
        file.write("# another line\n")
    after = digest_of(clone)
    assert after["sha256"] != before["sha256"]
    assert {path for path in after["files"] if after["files"][path] != before["files"][path]} == {name}


def moved(root: Path) -> None:
    (root / "training" / "trees.py").rename(root / "training" / "forest.py")


def added(root: Path) -> None:
    (root / "features" / "further.py").touch()


def added_to_the_example(root: Path) -> None:
    (root / "employment" / "further.py").touch()


@pytest.mark.parametrize("change", [moved, added, added_to_the_example])
def test_a_file_that_moves_or_comes_changes_the_whole(change: Callable[[Path], None], clone: Path) -> None:
    before = digest_of(clone)["sha256"]
    change(clone)
    assert digest_of(clone)["sha256"] != before


def test_another_example_and_what_runs_afterwards_change_nothing(clone: Path) -> None:
    before = digest_of(clone)
    for name in ("deploy", "scoring", "poison", "flights"):
        (clone / name).mkdir(exist_ok=True)
        (clone / name / "changed.py").write_text("# another line\n")
    for name in ("commands.py", "stages/deploy.py", "stages/register.py"):
        (clone / name).write_text("# another line\n")
    for name in ("folder.py", "lineage/graph.py", "signing/keys.py"):
        (clone.parent / "registry_client" / name).write_text("# another line\n")
    (clone / "features" / "__pycache__").mkdir()
    for name in ("__pycache__/graph.py", ".graph.py.swp", "graph.py~", "graph.pyc"):
        (clone / "features" / name).write_text("left by an editor or an interpreter")
    assert digest_of(clone) == before


def test_no_file_of_a_room_is_left_out_for_its_suffix() -> None:
    found = [path for room in ROOMS for path in (PIPELINES / room).rglob("*") if path.is_file()]
    suffixes = {path.suffix for path in found if "__pycache__" not in path.parts}
    assert ".py" in suffixes
    assert suffixes <= SUFFIXES


STAGE_FILES = tuple(f"pipelines/stages/{stage}.py" for stage in STAGES[:-1])
WITHOUT_EFFECT = {
    f"registry_client/{name}.py"
    for name in (
        "attachments", "cache", "errors", "folder", "mlflow_artifacts", "mlflow_environment", "mlflow_failures",
        "mlflow_registry", "opening", "placing", "reading", "registry", "tracking_uri", "verify",
    )
}  # fmt: skip
"""Where a bundle is kept and fetched from, and what is said where something fails."""


def test_all_of_the_pipelines_that_a_stage_loads_is_in_it_or_changes_no_byte() -> None:
    for name in EXAMPLES:
        loads = loaded(*STAGE_FILES, f"pipelines/{name}/definition.py")
        counted = set(digest_of(PIPELINES, name)["files"])
        missing = {path for path in loads if path.startswith("pipelines/")} - counted
        assert missing == {"pipelines/__init__.py", "pipelines/code_digest.py", "pipelines/downloads.py"}
        assert {"pipelines/work.py", "pipelines/definition.py", "pipelines/lake/table.py"} <= counted


def test_all_of_registry_client_that_a_stage_loads_is_in_it_or_changes_no_byte() -> None:
    loads = {path for path in loaded(*STAGE_FILES) if path.startswith("registry_client/")}
    counted = {path for path in digest_of(PIPELINES)["files"] if path.startswith("registry_client/")}
    assert "registry_client/baseline/fitting.py" in loads & counted
    assert {path for path in loads if not path.endswith("__init__.py")} <= counted | WITHOUT_EFFECT
    assert not counted & WITHOUT_EFFECT
