"""Clones, and the circumstances in which a command runs in one of them. Used by `trials.py`.

Always: a clone holds what version control has and the packages that were downloaded, so that nothing else of the
checkout can matter; its processes get the environment that is stated here and nothing of the caller's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.refusal import Refusal

REPOSITORY: Final = Path(__file__).parents[2]
NOBODY: Final = 65534
# They may read and pass what we can, such as a Python in root's home, and write only what is theirs.
AS_ANOTHER: Final = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
)  # fmt: skip
ON_CORES: Final = """import os, sys
os.sched_setaffinity(0, set(map(int, sys.argv[1].split(","))))
os.execv(sys.argv[2], sys.argv[2:])"""


@dataclass(frozen=True)
class Circumstances:
    """What should not matter. folder: the clone's name. cores: how many it may use, None for all. user: another one."""

    name: str
    folder: str
    variables: dict[str, str]
    cores: int | None = None
    umask: int = 0o022
    user: bool = False

    def __str__(self) -> str:
        told = [f"{key}={value}" for key, value in self.variables.items()]
        told += [f"umask {self.umask:03o}"] + ([] if self.cores is None else [f"on {self.cores} core"])
        user = NOBODY if self.user and can_be_another() else os.getuid()
        return ", ".join([*told, f"user {user}", f"in {self.folder!r}"])


HERE: Final = Circumstances(
    "here", "here",
    {"TZ": "America/New_York", "LANG": "C", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "USER": "here"}, cores=1,
)  # fmt: skip
THERE: Final = Circumstances(
    "there", "some where/else, ä",
    {"TZ": "Asia/Kolkata", "LANG": "C.UTF-8", "PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": "4", "USER": "there"},
    umask=0o077, user=True,
)  # fmt: skip


def can_be_another() -> bool:
    """Whether a process of ours may become somebody else."""
    return os.geteuid() == 0 and shutil.which(AS_ANOTHER[0]) is not None


@dataclass(frozen=True)
class Clone:
    """folder: of the checkout, in a place that was made for it, beside a home for whoever works there."""

    folder: Path
    circumstances: Circumstances

    @property
    def home(self) -> Path:
        return self.folder.parent / "home"

    def run(self, command: Sequence[str]) -> str:
        """Python with `command`, here; what it printed. Raises Refusal where it did not end well."""
        of = self.circumstances
        arguments = [sys.executable, *command]
        if of.cores is not None:
            cores = sorted(os.sched_getaffinity(0))[: of.cores]
            arguments = [sys.executable, "-c", ON_CORES, ",".join(map(str, cores)), *arguments]
        if of.user and can_be_another():
            arguments = [*AS_ANOTHER, *arguments]
        done = subprocess.run(
            arguments, cwd=self.folder, env=self._variables(), umask=of.umask, check=False, text=True,
            capture_output=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise Refusal(
                f"{of.name}: {' '.join(command)}", expected="it to end well",
                got=(done.stderr.strip().splitlines() or ["nothing said"])[-1][:300].rstrip("."),
                hint="What it said stands above.", table=tuple((done.stdout + done.stderr).splitlines()),
            )  # fmt: skip
        return done.stdout

    def _variables(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
        path = os.pathsep.join(map(str, (self.folder, self.folder / "clients" / "python")))
        return {**kept, **self.circumstances.variables, "HOME": str(self.home), "PYTHONPATH": path, "COLUMNS": "200"}


def clone(root: Path, circumstances: Circumstances, downloads: Path, *, working_tree: bool) -> Clone:
    """A new one below `root`. working_tree: with what is not committed yet, as far as it is not ignored."""
    place = root / circumstances.folder
    place.mkdir(parents=True)  # refuses one that is there: all of it is given away below
    made = Clone(place / "roost", circumstances)
    made.home.mkdir()
    if working_tree:
        _copy_tree(made.folder)
    else:
        _git("clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(made.folder))
    kept = made.folder / ".roost" / "data"
    kept.mkdir(parents=True)
    for path in downloads.iterdir() if downloads.is_dir() else ():
        if path.is_file():
            shutil.copy2(path, kept)
    if circumstances.user and can_be_another():
        for path in (place, *place.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return made


def _copy_tree(folder: Path) -> None:
    for name in _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refusal(
            f"git {arguments[0]}", expected="a checkout under version control", got=done.stderr.strip()[:200],
            hint="Run this in a clone of the repository.",
        )  # fmt: skip
    return done.stdout
