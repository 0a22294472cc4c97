"""Trials of one example: trained here and there, which must not matter, then with each change, which must show.

Used by the command and by its test. Always: all that is trained lies below the folder that was given.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.reproducible.changes import PARAMETER, SEED, Change, add_a_line, changes_of
from pipelines.reproducible.clones import HERE, THERE, Clone, can_be_another, clone
from registry_client.verify import read_verified

CAUSES: Final = frozenset({"data", "code", "parameters", "environment"})
"""Parts of a lineage that something else follows from."""


@dataclass(frozen=True)
class Trial:
    """holds: whether the digest is what it has to be, and a change is named. told: what was found, in words."""

    example: str
    name: str
    digest: str
    seconds: float
    holds: bool
    told: str


@dataclass(frozen=True)
class Trained:
    bundle: str
    digest: str
    seconds: float


@dataclass(frozen=True)
class Trials:
    """root: a new folder. downloads: packages that are there already. parameters: KEY=VALUE, the same for all.

    say: takes what is being trained.
    """

    example: str
    root: Path
    downloads: Path
    parameters: Sequence[str]
    working_tree: bool
    say: Callable[[str], None]

    def run(self) -> Iterator[Trial]:
        """Here, there, and each change. Raises Refusal where one of them could not be trained."""
        here, there = (clone(self.root, each, self.downloads, working_tree=self.working_tree) for each in (HERE, THERE))
        train = ["-m", "server.cli", "train", self.example, "--through", "bundle", "--registry", "registry"]
        first = self._trained(here, "here", train)
        yield Trial(self.example, "here", first.digest, first.seconds, True, str(HERE))
        yield self._elsewhere(first, self._trained(there, "there", train))
        row, parameter, line = changes_of(self.example)
        another = ["-m", "pipelines.reproducible.another_row", self.example]
        yield self._changed(here, row, first, self._trained(here, row.part, another))
        other = [*train, "--set", f"{PARAMETER}={SEED}"]
        yield self._changed(here, parameter, first, self._trained(here, parameter.part, other))
        add_a_line(here.folder, self.example)
        yield self._changed(here, line, first, self._trained(here, line.part, train))

    def _trained(self, clone: Clone, bundle: str, command: Sequence[str]) -> Trained:
        self.say(f"{self.example}: {bundle}")
        began_s = time.monotonic()
        sets = [part for change in self.parameters for part in ("--set", change)]
        clone.run([*command, *sets, "--out", bundle])
        return Trained(bundle, read_verified(clone.folder / bundle).digest, time.monotonic() - began_s)

    def _elsewhere(self, first: Trained, second: Trained) -> Trial:
        same = first.digest == second.digest
        alone = "" if can_be_another() else "; by no other user: for that run it as root, where setpriv is"
        told = f"{'the same' if same else 'ANOTHER'}, with {THERE}{alone}"
        return Trial(self.example, "there", second.digest, second.seconds, same, told)

    def _changed(self, here: Clone, change: Change, first: Trained, second: Trained) -> Trial:
        command = ["-m", "server.cli", "lineage", "--diff", f"./{first.bundle}", f"./{second.bundle}", "--json"]
        named = named_causes(json.loads(here.run(command)))
        holds = first.digest != second.digest and is_named(change, named)
        told = f"lineage names {', '.join(f'{part}: {name}' for part, name in named) or 'NOTHING'}"
        return Trial(self.example, change.name, second.digest, second.seconds, holds, told)


def named_causes(difference: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(part, name) of what a difference names that is no consequence of anything else that it names."""
    return [(one["part"], one["name"]) for one in difference["changes"] if one["part"] in CAUSES]


def is_named(change: Change, named: Sequence[tuple[str, str]]) -> bool:
    """Whether it is, and nothing of another part is."""
    return (change.part, change.named) in named and all(part == change.part for part, _ in named)
