"""`make` as a newcomer meets it, and setup that works only when something has changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(*arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A checkout whose environment is already made."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "locks", tmp_path / "locks")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def test_make_without_a_target_teaches_every_target() -> None:
    done = make()
    assert done.returncode == 0, done.stderr
    targets = set(re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split())
    shown = set(re.findall(r"^  make ([a-z-]+)", done.stdout, re.MULTILINE))
    assert shown == targets


def test_setup_does_nothing_when_nothing_has_changed(house: Path) -> None:
    assert "Nothing to be done" in make("setup", cwd=house).stdout


@pytest.mark.parametrize("changed", ["pyproject.toml", "locks/dev.lock"])
def test_setup_works_again_after_a_change(house: Path, changed: str) -> None:
    newer = (house / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(house / changed, (newer, newer))
    assert "--require-hashes -r locks/dev.lock" in make("--dry-run", "setup", cwd=house).stdout


@pytest.mark.parametrize("target", ["serve", "test", "lint", "bench", "fuzz", "load", "protos", "lock", "demo-model"])
def test_a_command_sets_up_first(house: Path, target: str) -> None:
    (house / ".venv" / ".installed").unlink()
    assert "--require-hashes -r locks/dev.lock" in make("--dry-run", target, cwd=house).stdout


def test_setup_without_a_python_says_which_one_is_needed(house: Path, tmp_path: Path) -> None:
    (house / ".venv" / ".installed").unlink()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("make", "sh", "grep", "sed", "awk"):
        found = shutil.which(name)
        assert found is not None
        (tools / name).symlink_to(found)
    done = make("setup", cwd=house, PATH=str(tools))
    assert done.returncode != 0
    assert "no Python 3.11 or later" in done.stderr
    assert "apt-get install python3-venv" in done.stderr


def test_a_failed_install_leaves_no_stamp(house: Path) -> None:
    (house / ".venv" / ".installed").unlink()
    (house / "locks" / "dev.lock").write_text("nannyml==0.13.1 --hash=sha256:" + "0" * 64 + "\n")
    done = make("setup", cwd=house, PIP_NO_INDEX="1")
    assert done.returncode != 0
    assert not (house / ".venv" / ".installed").exists()


def test_markers_by_which_make_chooses_files_stand_in_files_of_tests() -> None:
    marked = {
        path for path in (ROOT / "tests").rglob("*.py") if re.search(r"mark\.(alone|patient)\b", path.read_text())
    }
    assert {path.name for path in marked if not path.name.startswith("test_")} == set()
    assert len(marked) > 10
