"""A model with a few versions in a folder registry, and what the stages before leave of it: for tests of deploying."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.definition import Classification, Definition, Prose
from pipelines.deploy.rollout import Rollout
from pipelines.examples import Examples
from pipelines.parameters import Deploy, Parameters, Step
from pipelines.work import Work, write_json
from server.drills.model import NAME, Versions, baseline, model_bytes, population

ROWS = 4000
STEPS = (Step(weight=0.25, seconds=1, requests=500), Step(weight=0.5, seconds=2, requests=2000))
FAST = Deploy(steps=STEPS, rows_per_s=3000, timeout_s=60)
LONG = Deploy(steps=(Step(weight=0.5, seconds=60, requests=2000),), rows_per_s=200, timeout_s=60)


class World:
    """folder: of everything. versions: the registry's; the first is stable, and all have the same baseline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions = Versions(folder)
        content = model_bytes()
        self._learnt_from = baseline(content)
        self.push(content)

    def push(self, content: bytes) -> str:
        """Its number."""
        return self.versions.push(content, self._learnt_from)

    def work(self, version: str, deploy: Deploy = FAST, folder: str = "work") -> Work:
        """As the stages up to `register` leave it for this version."""
        work = at(self.folder, deploy, folder)
        digest = self.versions.digests[version]
        with work.output("register") as register:
            document = {"name": NAME, "version": int(version), "digest": digest, "registry": work.registry}
            write_json(register / "registered.json", document)
        with work.output("features") as features:
            examples(ROWS).write(features / "evaluation.parquet")
        return work


def at(root: Path, deploy: Deploy, folder: str = "cut") -> Work:
    """The work of a world in `root`."""
    return Work(
        definition=definition(),
        parameters=Parameters(deploy=deploy),
        folder=root / folder,
        lake=root / "lake",
        downloads=root / "downloads",
        registry=str(root / "registry"),
    )


def examples(rows: int) -> Examples:
    keys = np.array([f"customer-{number}" for number in range(rows)], dtype=object)
    numbers = population(np.random.default_rng(7), rows)
    nothing = np.zeros(rows)
    return Examples(numbers, None, nothing, {}, keys, nothing.astype(np.int64))


def definition() -> Definition:
    def never(*_: object) -> Any:
        raise AssertionError("deploying reads no records")

    return Definition(
        name=NAME, title="Who is about to leave", task=Classification(("stays", "leaves")), label="leaves", tables=(),
        features=None,  # type: ignore[arg-type]  # deploying knows no features
        fetch=never, split=never, slices={}, prose=Prose((), (), (), "made up"),
    )  # fmt: skip


class Watched:
    """A view that keeps what it was shown. said: what went on; headlines: each change; calls: each look."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.rollouts: list[Rollout] = []
        self.shown = 0

    def say(self, words: str) -> None:
        self.said.append(words)

    def show(self, rollout: Rollout) -> None:
        self.rollouts = [rollout]
        self.shown += 1

