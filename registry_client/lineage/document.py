"""The parts of a lineage, as they are once they were read. Pure data; `as_json` is what `roost lineage --json` prints.

Made by `reading.py` and `gathering.py`. Always: None stands for what nobody recorded, an empty tuple for what was
recorded and is none; what a part holds besides the fields named here is kept in its `other`, by dotted path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from registry_client.lineage.serving import Stay
from registry_client.manifest import Manifest
from registry_client.tracking_uri import without_passwords

Flat = Mapping[str, Any]
"""By dotted path a string, a number, true, false, null, or a list of those. `reading.flat` makes it."""

Part = Literal["provenance", "parent", "since_parent", "gates", "comparison", "served", "children"]

DEPTH_MAX: Final = 64
TOO_DEEP: Final = "(left out: deeper than 64 levels)"


@dataclass(frozen=True)
class Load:
    """Records that came into a table together. digest: of their rows."""

    name: str
    rows: int | None
    digest: str | None


@dataclass(frozen=True)
class Table:
    """A table at one version. digest: of all its rows, whatever files they lie in."""

    name: str
    version: int | None
    rows: int | None
    digest: str | None
    loads: tuple[Load, ...]


@dataclass(frozen=True)
class Sample:
    """Examples that were taken out of the tables. from_utc, to_utc: of their events.

    name: "training" or "evaluation".
    """

    name: str
    rows: int | None
    digest: str | None
    from_utc: str | None = None
    to_utc: str | None = None


@dataclass(frozen=True)
class Data:
    """source: the package that the records came in."""

    tables: tuple[Table, ...] = ()
    samples: tuple[Sample, ...] = ()
    source: Flat = field(default_factory=dict)
    other: Flat = field(default_factory=dict)


@dataclass(frozen=True)
class Code:
    """sha256: of all files together. files: by path. libraries: versions by name."""

    sha256: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    libraries: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None
    other: Flat = field(default_factory=dict)


@dataclass(frozen=True)
class Gate:
    """What a model had to reach. sense: "at least" or "at most". on: where it came closest to failing."""

    name: str
    measured: float | None
    bound: float | None
    sense: str = ""
    passed: bool | None = None
    on: str = ""
    rows: int | None = None


@dataclass(frozen=True)
class Origin:
    """All that a version's digest covers. gates: of the evaluation that is in the bundle, None where there is none."""

    manifest: Manifest
    digest: str
    data: Data
    code: Code
    parameters: Flat
    gates: tuple[Gate, ...] | None = None


@dataclass(frozen=True)
class Named:
    """A version of the same model. version: None where only its digest is known."""

    version: int | None
    digest: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Commit:
    """dirty: whether files under version control had changes that were not committed."""

    id: str
    dirty: bool | None


@dataclass(frozen=True)
class Provenance:
    """What no rerun would make again. run: MLflow's, with its tracking store. speed: gates measured on that machine."""

    commit: Commit | None = None
    made_at_utc: str | None = None
    host: str | None = None
    python: str | None = None
    run: Flat = field(default_factory=dict)
    parent: Named | None = None
    speed: tuple[Gate, ...] = ()
    other: Flat = field(default_factory=dict)


@dataclass(frozen=True)
class Attached:
    """A document beside a version, as it was attached."""

    file: str
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Beside:
    """What hangs beside a version. signatures, others: names of files. Nothing vouches for any of it."""

    provenance: Provenance | None = None
    comparison: Attached | None = None
    rollouts: tuple[Attached, ...] = ()
    signatures: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Journal:
    """The journal as `roost journal show --json` gives it: entries of one or more models, oldest first.

    source: where it was read, for people. whole: False where older entries may be missing.
    """

    entries: tuple[Mapping[str, Any], ...]
    source: str
    whole: bool = True


@dataclass(frozen=True)
class Promotion:
    """An entry by which the version became stable. operator: None where the server did it by itself."""

    number: int
    at_utc: str
    kind: str
    operator: str | None
    reason: str


@dataclass(frozen=True)
class Served:
    """What a journal tells of one digest. entries: those that are about it."""

    source: str
    whole: bool
    stays: tuple[Stay, ...]
    promotions: tuple[Promotion, ...]
    entries: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Change:
    """One thing that differs. before, after: None where it is not there at all."""

    part: str
    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Difference:
    """What differs between two bundles, by name. model_bytes: whether their graphs do."""

    before: Named
    after: Named
    changes: tuple[Change, ...]
    model_bytes: bool

    @property
    def same(self) -> bool:
        return self.before.digest == self.after.digest


@dataclass(frozen=True)
class Note:
    """A part that is missing or damaged, and why. part: a `Part`, or the file that is damaged."""

    part: str
    text: str


@dataclass(frozen=True)
class VersionLineage:
    """version: None for a bundle's folder, which no registry numbers. children: None where they were not looked for.

    since_parent: what differs from the parent, None where the parent is not known or not there.
    """

    name: str
    version: int | None
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    origin: Origin
    beside: Beside
    parent: Named | None
    children: tuple[Named, ...] | None
    since_parent: Difference | None
    served: Served | None
    missing: tuple[Note, ...]
    damaged: tuple[Note, ...]

    @property
    def title(self) -> str:
        return self.name if self.version is None else f"{self.name}:{self.version}"

    def why_missing(self, part: Part) -> str | None:
        """Why a part is not there, or not whole; None where it is."""
        return next((note.text for note in self.missing if note.part == part), None)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON. `data`, `code` and `parameters` are the manifest's own, whatever they hold."""
        manifest = self.origin.manifest
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.origin.digest,
            "aliases": list(self.aliases),
            "tags": plain(self.tags),
            "data": plain(manifest.lineage.data),
            "code": plain(manifest.lineage.code),
            "parameters": plain(manifest.lineage.parameters),
            "files": {name: {"sha256": file.sha256, "size": file.size_bytes} for name, file in manifest.files.items()},
            "gates": _gates_json(self.origin.gates),
            "provenance": _provenance_json(self.beside.provenance),
            "parent": named_json(self.parent),
            "children": None if self.children is None else [named_json(child) for child in self.children],
            "since_parent": None if self.since_parent is None else difference_json(self.since_parent),
            "comparison": None if self.beside.comparison is None else plain(self.beside.comparison.document),
            "rollouts": {rollout.file: plain(rollout.document) for rollout in self.beside.rollouts},
            "signatures": list(self.beside.signatures),
            "other_attachments": list(self.beside.others),
            "served": _served_json(self.served),
            "missing": {note.part: note.text for note in self.missing},
            "damaged": [{"what": note.part, "problem": note.text} for note in self.damaged],
        }  # fmt: skip


def difference_json(difference: Difference) -> dict[str, Any]:
    return {
        "before": named_json(difference.before),
        "after": named_json(difference.after),
        "same": difference.same,
        "model_bytes_differ": difference.model_bytes,
        "changes": [
            {"part": one.part, "name": one.name, "before": plain(one.before), "after": plain(one.after)}
            for one in difference.changes
        ],
    }


def named_json(named: Named | None) -> dict[str, Any] | None:
    if named is None:
        return None
    return {"version": named.version, "digest": named.digest, "aliases": list(named.aliases)}


def plain(value: Any, depth: int = 0) -> Any:
    """The same value without passwords in addresses, infinities as text, and nothing deeper than DEPTH_MAX."""
    if isinstance(value, str):
        return without_passwords(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth >= DEPTH_MAX:
        return TOO_DEEP
    if isinstance(value, Mapping):
        return {str(key): plain(inner, depth + 1) for key, inner in value.items()}
    return [plain(inner, depth + 1) for inner in value]


def _gates_json(gates: tuple[Gate, ...] | None) -> list[dict[str, Any]] | None:
    return None if gates is None else [plain(vars(gate)) for gate in gates]


def _provenance_json(provenance: Provenance | None) -> dict[str, Any] | None:
    if provenance is None:
        return None
    commit = provenance.commit
    return {
        "git": None if commit is None else {"commit": commit.id, "dirty": commit.dirty},
        "made_at_utc": provenance.made_at_utc,
        "host": provenance.host,
        "python": provenance.python,
        "mlflow": plain(provenance.run),
        "speed": _gates_json(provenance.speed),
        "other": plain(provenance.other),
    }


def _served_json(served: Served | None) -> dict[str, Any] | None:
    if served is None:
        return None
    return {
        "journal": served.source,
        "whole": served.whole,
        "intervals": [{**vars(stay), "weights_ppm": list(stay.weights_ppm)} for stay in served.stays],
        "promotions": [plain(vars(one)) for one in served.promotions],
        "entries": [plain(entry) for entry in served.entries],
    }
