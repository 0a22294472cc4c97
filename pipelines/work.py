"""Work: what a stage is given, and where stages leave what the next one takes.

Always: a stage's folder appears whole or not at all (`Work.output`), so that a killed stage leaves nothing that looks
done; what no rerun could make again (times, hosts, measured speeds) goes into `beside/`, which no stage depends on.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pipelines.definition import Definition
from pipelines.parameters import Parameters
from pipelines.refusal import Refusal
from registry_client import canonical_json

LOCK: Final = ".lock"
"""In the example's folder, held while a stage is at work there."""
BEGUN: Final = ".begun"
"""Beside it, with the stage's name in it, for as long: one that was killed leaves it behind."""

Say = Callable[[str], None]
"""Takes what a long stage is doing now, in a few words: shown, then overwritten by what it does next."""


def _silent(words: str) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Work:
    """folder: the example's stages' results, STAGE by STAGE. lake: where Delta tables are. downloads: pinned files.

    registry: where versions go. tracking: MLflow's URI for the training's run, None for no tracking. candidate:
    registered without becoming @stable where there is none. drill: spoilt on purpose, where the example knows how.
    ungated: gates are looked at and told, and stop nothing: for trying what a server does with a bad model.
    """

    definition: Definition
    parameters: Parameters
    folder: Path
    lake: Path
    downloads: Path
    registry: str
    tracking: str | None = None
    candidate: bool = False
    drill: bool = False
    ungated: bool = False
    say: Say = field(default=_silent)

    def elsewhere(self, kind: str) -> Work:
        """The same run with its results apart from those that DVC keeps."""
        return replace(self, folder=self.folder.parents[1] / kind / self.definition.name)

    def of(self, stage: str) -> Path:
        """The folder that a stage that was done left. Raises Refusal where it was not."""
        folder = self.folder / stage
        if not folder.is_dir():
            raise Refusal(
                f"stage {stage}", expected="it to have been done", got=f"no {folder}",
                hint=f"Run it first: roost pipeline run {self.definition.name}.",
            )  # fmt: skip
        return folder

    @property
    def spoilt(self) -> bool:
        """Bad on purpose: not to be compared with a good one."""
        return self.drill or self.ungated

    @property
    def beside(self) -> Path:
        """What is told of a run and is no part of its result."""
        folder = self.folder / "beside"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def output(self, stage: str) -> Iterator[Path]:
        """An empty folder to fill, which becomes the stage's when the block ends well, and vanishes otherwise."""
        self.folder.mkdir(parents=True, exist_ok=True)
        filling = Path(tempfile.mkdtemp(prefix=f".{stage}-", dir=self.folder))
        try:
            yield filling
            filling.chmod(0o755)
            final, old = self.folder / stage, filling.with_name(f"{filling.name}-old")
            if final.exists():
                os.rename(final, old)  # not removed in place: a kill half way would leave half of it, as if it was done
            os.rename(filling, final)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(filling, ignore_errors=True)


def write_json(path: Path, document: Any) -> None:
    """Canonical JSON, whole or not at all; the same document has the same bytes. Floats stay as they are."""
    filling = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        filling.write_bytes(canonical_json.encode(document) + b"\n")
        os.replace(filling, path)
    finally:
        filling.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Raises Refusal where the file is missing or no JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Refusal(
            str(path), expected="JSON that a stage wrote", got=f"{type(error).__name__}"[:200],
            hint="Run the stage that writes it again.",
        ) from error  # fmt: skip
