"""environment.lock: the lock as it lies, and only where what is installed is what it pins."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.artifact.environment import (
    LIBRARIES,
    TRAIN_LOCK,
    environment_lineage,
    installed_version,
    locked_environment,
)
from pipelines.refusal import Refusal

PINS = dict.fromkeys(LIBRARIES, "1.2")


def write_lock(folder: Path, *lines: str) -> Path:
    pins = [f"{name}==1.2 \\\n    --hash=sha256:{'0' * 64}" for name in LIBRARIES]
    path = folder / "train.lock"
    path.write_text("# made by a tool\n" + "\n".join([*pins, *lines]) + "\n", encoding="utf-8")
    return path


def test_the_lock_is_taken_byte_for_byte_where_everything_is_as_it_pins(tmp_path: Path) -> None:
    path = write_lock(tmp_path)
    assert locked_environment(path, PINS.get) == path.read_bytes()


def test_what_is_installed_here_is_what_the_lock_in_version_control_pins() -> None:
    assert locked_environment() == TRAIN_LOCK.read_bytes()


@pytest.mark.parametrize(("found", "told"), [("1.3", "got 1.3"), (None, "got none installed")])
def test_a_library_of_another_version_is_refused_by_name(tmp_path: Path, found: str | None, told: str) -> None:
    installed = {**PINS, "shap": found}
    with pytest.raises(Refusal, match=rf"library shap: expected 1\.2, as train\.lock pins it, {told}\. .*make setup"):
        locked_environment(write_lock(tmp_path), installed.get)


def test_a_library_that_is_not_named_in_the_lineage_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="library tomli: expected 2, as"):
        locked_environment(write_lock(tmp_path, "tomli==2"), {**PINS, "tomli": "1"}.get)


def test_a_pin_for_another_machine_asks_nothing_of_this_one(tmp_path: Path) -> None:
    path = write_lock(tmp_path, "colorama==0.4 ; sys_platform == 'win32' and os_name == 'posix'")
    assert locked_environment(path, PINS.get) == path.read_bytes()


@pytest.mark.parametrize("line", ["shap>=1", "shap", "== 2 ==", "shap==1 ; no marker"])
def test_a_lock_that_pins_no_version_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(Refusal, match="expected a lock of pinned versions"):
        locked_environment(write_lock(tmp_path, line), PINS.get)


def test_a_lock_that_is_not_there_or_lacks_what_matters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"expected a lock of pinned versions.*No such file"):
        locked_environment(tmp_path / "train.lock", PINS.get)
    (tmp_path / "train.lock").write_text("numpy==1.2\n", encoding="utf-8")
    with pytest.raises(Refusal, match="expected a pin of datasketches, got none"):
        locked_environment(tmp_path / "train.lock", PINS.get)


def test_the_lineage_names_versions_and_python_s_minor_one_alone() -> None:
    told = environment_lineage()
    assert told["libraries"] == {name: installed_version(name) for name in LIBRARIES}
    assert None not in told["libraries"].values()
    assert told["python"].count(".") == 1
