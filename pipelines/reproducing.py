"""Reproducing: the stages as DVC reruns them, those only that something has changed for.

Used by `roost pipeline run`. DVC lives in an environment of its own and is called as a command. Always: one run at a
time (DVC's lock); what a run that was killed had done is not done again.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from pipelines.refusal import Refusal
from pipelines.work import BEGUN, LOCK
from registry_client.opening import absolute_location

REPOSITORY: Final = Path(__file__).parents[1]
PR_SET_PDEATHSIG: Final = 1
BUSY_WORDS: Final = ("Unable to acquire lock", "it is being blocked by")
"""Of DVC, where another run holds what this one wants: the folder as a whole, or what a stage reads or writes."""


def check_here() -> None:
    """DVC's stages write where `dvc.yaml` says, in the checkout: from elsewhere one would reproduce one place and
    deploy another. Raises Refusal."""
    if Path.cwd().resolve() != REPOSITORY.resolve():
        raise Refusal(
            "folder", expected=f"to be run in the checkout, {REPOSITORY}", got=f"{Path.cwd()}",
            hint=f"cd {REPOSITORY}; roost train works from anywhere.",
        )  # fmt: skip


def reproduce(name: str, registry: str) -> None:
    """All stages of the example `name`, through register. Raises Refusal; what a stage refused stands above it."""
    folder = REPOSITORY / ".roost" / "pipelines" / name
    if _killed(folder) is not None:  # an earlier run's
        (folder / BEGUN).unlink(missing_ok=True)
    # Quiet, so that what the stages say is what one reads.
    ended = _repro(name, registry, "--quiet")
    if ended.returncode != 0 and (stage := _killed(folder)) is not None:
        raise Refusal(
            f"stage {stage}", expected="to end by itself", got="its process killed",
            hint="Where nobody did, the machine had too little memory. Run this again: what was done stays done.",
        )  # fmt: skip
    if ended.returncode != 0 and not _refusals(name, ended.stderr):
        # Quiet, DVC keeps to itself what it failed for: a lock, a full disk, a file that can't be read.
        ended = _repro(name, registry)
    if ended.returncode == 0:
        sys.stderr.write(ended.stderr)
        return
    if any(words in ended.stderr for words in BUSY_WORDS):
        raise Refusal(
            f"pipeline {name}", expected="to be the only run in this folder", got="another one at work",
            hint="Wait until it has ended; if none runs, one was killed: remove .dvc/tmp/lock and .dvc/tmp/rwlock.",
        )  # fmt: skip
    told = [line for line in ended.stderr.splitlines() if line.strip()]
    said = (*_refusals(name, ended.stderr)[-1:], *told, "nothing said")[0]
    raise Refusal(
        f"pipeline {name}", expected="every stage to end well",
        got=said.removeprefix(f"{name}: ").removeprefix("ERROR: ").rstrip("."),
        hint="Mend what it says and run this again: what was done stays done.",
        table=tuple(line for line in told if line != said and not line.startswith("ERROR: failed to reproduce")),
    )  # fmt: skip


def _repro(name: str, registry: str, *flags: str) -> subprocess.CompletedProcess[str]:
    own = {"ROOST_PIPELINE_REGISTRY": absolute_location(registry), "ROOST_PIPELINE_FOLDER": ".roost"}
    environment = os.environ | own | {"DVC_NO_ANALYTICS": "1"}
    command = [_dvc(), "repro", *flags, f"register@{name}"]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True, check=False,
        preexec_fn=_ends_with_us if sys.platform == "linux" else None,
    )  # fmt: skip


def _killed(folder: Path) -> str | None:
    """The stage that was at work there and did not come to its end, unless it is at work still."""
    try:
        with (folder / LOCK).open("a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return (folder / BEGUN).read_text(encoding="ascii")
    except (FileNotFoundError, BlockingIOError):
        return None


def _ends_with_us() -> None:
    """DVC has no next stage begun once nobody waits for it: one that we were killed in the midst of would register."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _refusals(name: str, told: str) -> list[str]:
    """Lines in which a stage said why it stopped."""
    return [line for line in told.splitlines() if line.startswith(f"{name}: ")]


def _dvc() -> str:
    own = REPOSITORY / ".venv-dvc" / "bin" / "dvc"
    found = str(own) if own.exists() else shutil.which("dvc")
    if found is None:
        raise Refusal("dvc", expected="the command", got="none", hint="make pipeline installs it into .venv-dvc.")
    return found
