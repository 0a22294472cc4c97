"""Running stages: what a run's `Work` is made of, a stage's line on the terminal, and refusals in one line.

Used by `roost train` (all stages in one process) and by `python -m pipelines.stages` (one, for DVC). Always: the same
stages with the same files between them, whoever calls, and one run at a time where results lie; nothing heavy is
imported before something was said.
"""

from __future__ import annotations

import errno
import fcntl
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Final

from rich.console import Console

from pipelines import STAGES
from pipelines.definition import definition
from pipelines.parameters import read_parameters
from pipelines.refusal import Refusal
from pipelines.stable import stable_version
from pipelines.work import BEGUN, LOCK, Work
from registry_client.errors import ArtifactError
from registry_client.opening import open_registry
from registry_client.tracking_uri import is_tracking_uri

DEFAULT_REGISTRY: Final = "sqlite:///.roost/mlflow.db"
DEFAULT_FOLDER: Final = ".roost"
STAGE_WIDTH: Final = max(map(len, STAGES))
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
                            errno.EEXIST, errno.ENOTDIR})  # fmt: skip
"""What a disk says that can't be written: everybody's to mend, and no fault of ours."""
console = Console(highlight=False, soft_wrap=True)


def work_of(
    name: str,
    *,
    registry: str,
    folder: str | Path,
    changes: Sequence[str] = (),
    candidate: bool = False,
    drill: bool = False,
) -> Work:
    """A run of the example `name` whose data, tables and results lie in `folder`. Raises Refusal."""
    root = Path(folder)
    return Work(
        definition=definition(name),
        parameters=read_parameters(name, changes),
        folder=root / "pipelines" / name,
        lake=root / "lake",
        downloads=root / "data",
        registry=registry,
        # A folder registry has nobody who could track.
        tracking=registry if is_tracking_uri(registry) else None,
        candidate=candidate,
        drill=drill,
    )


def run_stage(stage: str, work: Work) -> None:
    """Runs it, and shows that it runs."""
    with told(stage) as results, console.status(f"{stage:{STAGE_WIDTH}}") as status, _written(stage, work):
        module = import_module(f"pipelines.stages.{stage}")
        results.append(module.run(replace(work, say=lambda words: status.update(f"{stage:{STAGE_WIDTH}}  {words}"))))


@contextmanager
def _written(stage: str, work: Work) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        place, got = error.filename or work.folder, error.strerror or str(error)
        raise Refusal(
            f"stage {stage}", expected=f"to write into {place}", got=got,
            hint="Make room there, or give it a folder that can be written, then run this again: nothing is half done.",
        ) from error  # fmt: skip


@contextmanager
def alone(work: Work) -> Iterator[None]:
    """The only run where its results lie: of two, one would take what the other has half done. Raises Refusal."""
    with _written(STAGES[0], work):
        work.folder.mkdir(parents=True, exist_ok=True)
        lock = (work.folder / LOCK).open("a", encoding="ascii")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal(
                str(work.folder), expected="one run at a time", got="another one at work",
                hint="Wait until it has ended, or give this one a place of its own: --folder.",
            ) from None  # fmt: skip
        for left in (left for stage in STAGES for left in work.folder.glob(f".{stage}-*")):
            shutil.rmtree(left)  # what a run that was killed had begun
        yield


@contextmanager
def begun(stage: str, work: Work) -> Iterator[None]:
    """Names the stage in a file that only one that was killed leaves behind: DVC does not tell that from a refusal."""
    file = work.folder / BEGUN
    file.write_text(stage, encoding="ascii")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def told(stage: str) -> Iterator[list[str]]:
    """A stage's line, once it has ended well: how long it took, and what the block appended."""
    started, results = time.monotonic(), list[str]()
    yield results
    console.print(f"  {stage:{STAGE_WIDTH}} {time.monotonic() - started:5.1f} s  {' '.join(results)}")


def ask_registry(work: Work) -> None:
    """One that is down, or is none, is told of before minutes of work, not after. Raises Refusal, or what it does."""
    with _written(STAGES[-1], work):
        stable_version(open_registry(work.registry), work.definition.name)


def run_stages(work: Work, through: str = STAGES[-1]) -> None:
    """The stages in their order, up to `through`."""
    with alone(work):
        for stage in STAGES[: STAGES.index(through) + 1]:
            run_stage(stage, work)


@contextmanager
def in_one_line(name: str) -> Iterator[None]:
    """A refusal becomes one line on standard error, below its table if it has one, and exit code 1."""
    try:
        yield
    except (Refusal, ArtifactError) as refusal:
        for line in refusal.table if isinstance(refusal, Refusal) else ():
            print(line, file=sys.stderr)
        print(f"{name}: {refusal}", file=sys.stderr)
        raise SystemExit(1) from None
