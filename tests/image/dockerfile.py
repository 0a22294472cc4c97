"""The Dockerfile read as steps, and run as far as that goes without a container engine.

Used by the tests of this room. Understands what our Dockerfile uses (FROM, WORKDIR, COPY, RUN, ARG, ENV, USER and the
exec forms) and refuses everything else, so that a new kind of step is not passed over in silence.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

RUNNABLE = {"WORKDIR", "COPY", "RUN", "ARG", "ENV"}
DECLARATIONS = {"USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT"}


@dataclass(frozen=True)
class Step:
    """One instruction, its continuation lines joined."""

    word: str
    text: str


@dataclass
class Stage:
    """The steps after one FROM. name: what follows AS, or empty."""

    image: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [step.text for step in self.steps if step.word == word]


def read_stages(text: str) -> list[Stage]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages.append(Stage(image, name))
        elif word in RUNNABLE | DECLARATIONS:
            stages[-1].steps.append(Step(word, rest.strip()))
        else:
            raise ValueError(f"Dockerfile: no rule for {word}. Teach tests/image/dockerfile.py what it means.")
    return stages


def environment_of(stage: Stage) -> dict[str, str]:
    """ENV and ARG defaults, with ${NAME} and $NAME filled in from the ones before; PATH keeps what it had."""
    values: dict[str, str] = {}
    for step in stage.steps:
        if step.word == "ARG":
            name, _, default = step.text.partition("=")
            values[name] = default
        if step.word == "ENV":
            for name, value in re.findall(r"(\w+)=(\S*)", step.text):
                values[name] = re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], f"${match[1]}"), value)
    return values


def exec_form(text: str) -> list[str]:
    """The words of CMD [...] or ENTRYPOINT [...]."""
    words = json.loads(text[text.index("[") :])
    assert isinstance(words, list)
    return words


@dataclass(frozen=True)
class Root:
    """A folder that stands for an image's root: absolute paths of the Dockerfile are taken below it.

    python: the interpreter that stands for the base image's `python`.
    """

    folder: Path
    context: Path
    python: Path

    def below(self, text: str) -> str:
        """`text` with the absolute paths that the Dockerfile makes moved into the folder."""
        return re.sub(r"(?<![\w.])/(build|opt/roost|var/cache/roost)\b", rf"{self.folder}/\1", text)

    def run_stage(self, stage: Stage, *, skip: tuple[str, ...] = ()) -> list[str]:
        """Runs the stage's steps in order, and returns the RUN steps that were skipped for naming a word of `skip`."""
        work, skipped = self.folder, []
        for step in stage.steps:
            if step.word == "WORKDIR":
                work = Path(self.below(step.text))
                work.mkdir(parents=True, exist_ok=True)
            if step.word == "COPY" and not step.text.startswith("--from"):
                *sources, target = step.text.split()
                for source in sources:
                    self._copy(self.context / source, work / target, into=target.endswith("/"))
            if step.word == "RUN":
                if any(word in step.text for word in skip):
                    skipped.append(step.text)
                else:
                    self.shell(step.text, work, environment_of(stage))
        return skipped

    def shell(self, command: str, work: Path, image_environment: Mapping[str, str]) -> str:
        """Runs one command as /bin/sh would in the image; raises with its output where it fails."""
        done = subprocess.run(
            ["/bin/sh", "-ec", self.below(command)],
            cwd=work,
            env=self.environment(image_environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def environment(self, image_environment: Mapping[str, str]) -> dict[str, str]:
        """The image's variables and nothing of ours but PATH, with `python` in front."""
        bare = self.folder / "bin"
        if not bare.exists():
            bare.mkdir(parents=True)
            (bare / "python").symlink_to(self.python)
        path = f"{bare}:{os.environ['PATH']}"
        values = {name: self.below(value) for name, value in image_environment.items() if name != "PATH"}
        if "PATH" in image_environment:
            path = f"{self.below(image_environment['PATH']).removesuffix(':$PATH')}:{path}"
        return {**values, "PATH": path, "HOME": str(self.folder)}

    def _copy(self, source: Path, target: Path, *, into: bool) -> None:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            return
        destination = target / source.name if into else target
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
