"""What `roost pipeline run` makes of DVC's ways to end, each played by a script in DVC's place."""

from __future__ import annotations

import fcntl
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines import reproducing
from pipelines.refusal import Refusal
from pipelines.reproducing import reproduce

BUSY = """ERROR: failed to reproduce 'train@toys': '/x/.roost/pipelines/toys/train' is busy, it is being blocked by:
  (PID 4711): dvc repro --quiet register@toys"""
LOCKED = "ERROR: Unable to acquire lock. Most likely another DVC process is running or was terminated abruptly."
BROKEN = "'./dvc.yaml' is invalid.\n\nWhile parsing a flow node, in line 133, column 1"
REFUSED = """gate     where     measured
auc      all rows  0.52
toys: gates: expected all 19 to pass, got 1 that failed: auc. Nothing is registered.
ERROR: failed to reproduce 'evaluate@toys': failed to run: .venv/bin/python -m pipelines.stages evaluate toys"""


def played(root: Path, said: str, code: int = 255) -> Path:
    """A dvc that notes how it was called and what it was given; with --quiet it says nothing of its own."""
    command = root / ".venv-dvc" / "bin" / "dvc"
    command.parent.mkdir(parents=True)
    (root / "said").write_text(said)
    quiet = "case $2 in --quiet) grep -v -e '^ERROR' -e dvc -e busy -e PID -e parsing said >&2;; *) cat said >&2;; esac"
    lines = ["#!/bin/sh", 'echo "$@ $ROOST_PIPELINE_REGISTRY $PWD" >> calls', quiet, f"exit {code}"]
    command.write_text("\n".join(lines) + "\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return root


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reproducing, "REPOSITORY", tmp_path)
    return tmp_path


def test_a_run_that_ends_well_is_asked_for_once_with_the_registry_as_an_absolute_place(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played(repository, "register: no commit is recorded: no version control here", code=0)
    monkeypatch.chdir(repository)
    reproduce("toys", "sqlite:///.roost/mlflow.db")
    place = f"sqlite:///{repository}/.roost/mlflow.db"
    assert (repository / "calls").read_text() == f"repro --quiet register@toys {place} {repository}\n"
    assert "no commit is recorded" in capsys.readouterr().err  # what stages say beside is not lost


@pytest.mark.parametrize("said", [BUSY, LOCKED])
def test_another_run_in_the_same_folder_is_told_of(said: str, repository: Path) -> None:
    played(repository, said)
    with pytest.raises(Refusal, match="expected to be the only run in this folder, got another one at work"):
        reproduce("toys", "registry")


def with_a_stage_begun(root: Path) -> Path:
    folder = root / ".roost" / "pipelines" / "toys"
    folder.mkdir(parents=True)
    dvc = root / ".venv-dvc" / "bin" / "dvc"
    lines = dvc.read_text().splitlines()
    dvc.write_text("\n".join([lines[0], f"printf train > {folder}/.begun", *lines[1:]]) + "\n")
    (folder / ".lock").touch()
    return folder


def test_a_stage_that_was_killed_is_told_of_and_nothing_is_run_again(repository: Path) -> None:
    with_a_stage_begun(played(repository, "ERROR: failed to reproduce 'train@toys': exited with -9"))
    with pytest.raises(Refusal, match=r"stage train: expected to end by itself, got its process killed\. Where nobody"):
        reproduce("toys", "registry")
    assert (repository / "calls").read_text().count("repro") == 1


def test_a_stage_of_another_run_that_is_at_work_still_was_not_killed(repository: Path) -> None:
    folder = with_a_stage_begun(played(repository, BUSY))
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Refusal, match="got another one at work"):
            reproduce("toys", "registry")


def test_what_an_earlier_run_left_is_not_laid_to_this_one(repository: Path) -> None:
    played(repository, BROKEN)
    folder = repository / ".roost" / "pipelines" / "toys"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / ".begun").write_text("train")
    with pytest.raises(Refusal, match=r"dvc\.yaml"):
        reproduce("toys", "registry")


def test_dvc_goes_when_the_run_is_killed(repository: Path) -> None:
    played(repository, "")
    dvc = repository / ".venv-dvc" / "bin" / "dvc"
    dvc.write_text("#!/bin/sh\necho $$ > pid\nexec sleep 60\n")
    code = (
        "import sys; from pathlib import Path; from pipelines import reproducing; "
        "reproducing.REPOSITORY = Path(sys.argv[1]); reproducing.reproduce('toys', 'registry')"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(repository)], cwd=Path(__file__).parents[3])
    pid, deadline = repository / "pid", time.monotonic() + 30
    while not (pid.exists() and pid.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.kill()
    run.wait()
    while Path(f"/proc/{pid.read_text().strip()}/cmdline").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert time.monotonic() < deadline


def test_what_dvc_itself_failed_for_is_told_although_it_is_quiet(repository: Path) -> None:
    played(repository, BROKEN)
    with pytest.raises(Refusal, match=r"got './dvc\.yaml' is invalid\. Mend what it says") as refused:
        reproduce("toys", "registry")
    assert refused.value.table == ("While parsing a flow node, in line 133, column 1",)
    assert (repository / "calls").read_text().count("repro") == 2


def test_what_a_stage_refused_is_told_with_its_table_and_nothing_is_run_again(repository: Path) -> None:
    played(repository, REFUSED)
    with pytest.raises(Refusal, match=r"got gates: expected all 19 to pass, got 1 that failed: auc\.") as refused:
        reproduce("toys", "registry")
    assert refused.value.table == tuple(REFUSED.splitlines()[:2])
    assert (repository / "calls").read_text().count("repro") == 1


def test_a_dvc_that_says_nothing_at_all_is_a_refusal_all_the_same(repository: Path) -> None:
    played(repository, "")
    with pytest.raises(Refusal, match="got nothing said"):
        reproduce("toys", "registry")


def test_where_dvc_is_not_installed_it_is_said_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Refusal, match=r"dvc: expected the command, got none\. make pipeline installs it"):
        reproduce("toys", "registry")
