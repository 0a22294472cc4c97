"""Runs that cannot end well: each stops with a name and what to do, leaves nothing half done, and can be run again."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipelines import STAGES
from pipelines.commands import run_pipeline, train
from pipelines.parameters import read_parameters
from pipelines.refusal import Refusal
from pipelines.running import LOCK, run_stage, run_stages, work_of
from pipelines.stages.register import git_state
from pipelines.work import Work
from registry_client.folder import FolderRegistry
from tests.pipelines.records import FEW, ROWS, with_records
from tests.pipelines.whole.checkouts import commit, git

CHANGES = [*FEW, "train.trees.count=20"]
Told = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of downloads and tables, which refused runs leave as they are."""
    return with_records(tmp_path_factory.mktemp("refused") / "roost")


def refused(told: Told, run: Callable[[], None]) -> tuple[str, str]:
    """Its last line on standard error, and what stood above."""
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 1
    *above, last = told.readouterr().err.splitlines()
    return last, "\n".join(above)


def train_small(folder: Path, registry: str, *changes: str) -> Callable[[], None]:
    return lambda: train("employment", registry=registry, folder=folder, rows=ROWS, changes=[*CHANGES, *changes])


# --- Parameters ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("train.tree.count=3", "train.tree: expected a known parameter, got an unknown one."),
        ("gates.auc_mi=1", "gates.auc_mi: expected a known parameter, got an unknown one. Did you mean gates.auc_min?"),
        ("train.trees.count=0", "train.trees.count: expected greater than or equal to 1, got 0."),
        ("train.trees.count=many", "train.trees.count: expected a valid integer"),
        ("train.seed=[", "--set train.seed: expected a value in YAML, got '['."),
        ("train.seed", "--set: expected KEY=VALUE, as train.trees.count=150, got 'train.seed'."),
        ("train.learner.count=3", "--set train.learner.count: expected a known key, got one inside a value."),
        ("deploy.steps=[]", "deploy.steps: expected Tuple should have at least 1 item"),
        (
            "deploy.steps=[{weight: 0.5, seconds: 1, requests: 9}, {weight: 0.5, seconds: 1, requests: 9}]",
            "deploy.steps: expected each step's weight to be more than the 0.5 of the one before",
        ),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_by_name_before_any_work(
    change: str, says: str, tmp_path: Path, capsys: Told
) -> None:
    last, _ = refused(capsys, lambda: train("employment", folder=tmp_path / "f", registry="r", changes=[change]))
    assert last.startswith(f"employment: {says}")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("employment: {train: [", "expected parameters in YAML"),
        ("flights: {}", "expected a section employment, got none. Take it from version control."),
        ("- 1", "expected a section employment, got none. Take it from version control."),
        ("employment: {trian: {}}", "trian: expected a known parameter, got an unknown one."),
    ],
)
def test_a_file_of_parameters_that_cannot_be_read_is_refused(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(Refusal) as caught:
        read_parameters("employment", path=tmp_path / "params.yaml")
    assert says in str(caught.value)
    with pytest.raises(Refusal, match=r"expected parameters in YAML, got .*No such file"):
        read_parameters("employment", path=tmp_path / "none.yaml")


# --- Gates -----------------------------------------------------------------------------------------------------------
def test_a_model_that_fails_a_gate_is_not_registered_and_the_table_says_by_how_much(
    folder: Path, tmp_path: Path, capsys: Told
) -> None:
    registry = tmp_path / "registry"
    last, table = refused(capsys, train_small(folder, str(registry), "gates.auc_min=0.97"))
    assert last.startswith("employment: gates: expected all 19 to pass, got 1 that failed: auc. Nothing is registered.")
    assert "0.97" in table
    assert not registry.exists()
    assert not (folder / "tried" / "employment" / "evaluate").exists()


# --- Registries ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["train", "train --if-missing", "pipeline"])
def test_a_registry_that_is_down_is_told_in_one_line(command: str, folder: Path, capsys: Told) -> None:
    down = "http://127.0.0.1:9"
    commands = {
        "train": train_small(folder, down),
        "train --if-missing": lambda: train("employment", registry=down, if_missing=True),
        "pipeline": lambda: run_pipeline("employment", registry=down),
    }
    last, above = refused(capsys, commands[command])
    assert down in last
    assert above == ""


def test_a_registry_where_a_file_is_in_the_way_registers_nothing_and_mended_takes_the_same_bundle(
    folder: Path, tmp_path: Path, capsys: Told
) -> None:
    registry = tmp_path / "registry"
    registry.write_text("no folder")
    last, _ = refused(capsys, train_small(folder, str(registry)))
    assert str(registry) in last
    registry.unlink()
    train_small(folder, str(registry))()
    assert "version 1, new and @stable" in capsys.readouterr().out


# --- Two at once, and what a killed one left -------------------------------------------------------------------------
def test_of_two_runs_in_one_place_the_second_is_refused_and_the_first_goes_on(
    folder: Path, tmp_path: Path, capsys: Told
) -> None:
    place = folder / "tried" / "employment"
    place.mkdir(parents=True, exist_ok=True)
    with (place / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        left = sorted(place.iterdir())
        last, _ = refused(capsys, train_small(folder, str(tmp_path / "r")))
        assert last == (
            f"employment: {place}: expected one run at a time, got another one at work. "
            "Wait until it has ended, or give this one a place of its own: --folder."
        )
        assert sorted(place.iterdir()) == left


def test_one_stage_for_dvc_is_a_run_too(folder: Path) -> None:
    place = folder / "pipelines" / "employment"
    place.mkdir(parents=True, exist_ok=True)
    with (place / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.stages", "snapshot", "employment"], check=False, text=True,
            env={**os.environ, "ROOST_PIPELINE_FOLDER": str(folder)}, capture_output=True,
        )  # fmt: skip
    assert done.returncode == 1
    assert "expected one run at a time, got another one at work." in done.stderr


def test_what_a_killed_run_had_begun_is_removed_by_the_next_and_nothing_else(folder: Path) -> None:
    work = small_work(folder, "killed")
    left, other = work.folder / ".train-8a7b", work.folder / ".notes"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")
    other.mkdir()
    run_stages(work, "features")
    assert not left.exists()
    assert other.is_dir()


def small_work(folder: Path, kind: str, registry: str = "registry") -> Work:
    changes = [f"snapshot.rows_max={ROWS}", *CHANGES]
    return work_of("employment", registry=registry, folder=folder, changes=changes).elsewhere(kind)


# --- A disk that is full ---------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Disk:
    """A small one, on which everything lies but the downloads."""

    root: Path

    def work(self) -> Work:
        usual = small_work(self.root / "roost", "whole", str(self.root / "registry"))
        return replace(usual, downloads=self.root.parent / "downloads" / "data")

    def fill(self) -> None:
        (self.root / "ballast").write_bytes(b"\0" * shutil.disk_usage(self.root).free)

    def free(self) -> None:
        (self.root / "ballast").unlink()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    root = tmp_path_factory.mktemp("full")
    with_records(root / "downloads")
    (root / "disk").mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(root / "disk")], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield Disk(root / "disk")
    finally:
        subprocess.run(["umount", str(root / "disk")], check=True)


def test_a_stage_on_a_full_disk_says_so_leaves_nothing_and_goes_on_when_there_is_room(disk: Disk) -> None:
    for stage in STAGES:
        work = disk.work()
        work.folder.mkdir(parents=True, exist_ok=True)
        disk.fill()
        with pytest.raises(Exception, match=r"(?i)room|space") as caught:
            run_stage(stage, work)
        assert caught.type.__name__ in ("Refusal", "RegistryRefused", "RegistryUnavailable"), (stage, caught.value)
        assert not (work.folder / stage).exists()
        assert not list(work.folder.glob(f".{stage}-*"))
        disk.free()
        run_stage(stage, work)
    (version,) = FolderRegistry(disk.root / "registry").versions("employment")
    assert version.aliases == ("stable",)


def test_a_place_that_is_no_folder_is_told_before_any_work(tmp_path: Path, capsys: Told) -> None:
    (tmp_path / "roost").write_text("no folder")
    last, _ = refused(capsys, train_small(tmp_path / "roost", str(tmp_path / "registry")))
    assert last.startswith(f"employment: stage snapshot: expected to write into {tmp_path / 'roost'}")
    assert "nothing is half done." in last


def test_an_error_that_is_no_disks_is_not_taken_for_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(work: Work) -> str:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "model.onnx")

    monkeypatch.setattr("pipelines.stages.features.run", broken)
    with pytest.raises(FileNotFoundError):
        run_stage("features", small_work(folder, "broken"))


# --- The commit that a version is made from --------------------------------------------------------------------------
@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "pipelines").mkdir()
    for name in ("dvc.lock", "params.yaml", "pipelines/train.py"):
        (tmp_path / name).write_text("as it was\n")
    commit(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        (None, False),
        ("dvc.lock", False),  # the run itself writes it
        ("notes.txt", False),
        ("params.yaml", True),
        ("pipelines/train.py", True),
        ("pipelines/not_added_yet.py", True),
    ],
)
def test_a_commit_is_dirty_where_what_runs_differs_from_it(name: str | None, dirty: bool, repository: Path) -> None:
    if name is not None:
        (repository / name).write_text("changed\n")
    head = git(repository, "rev-parse", "HEAD").strip()
    assert git_state(repository) == {"commit": head, "dirty": dirty}


def test_outside_version_control_no_commit_is_recorded_and_it_is_said_in_one_line(tmp_path: Path, capsys: Told) -> None:
    assert git_state(tmp_path) is None
    assert len(capsys.readouterr().err.splitlines()) == 1
