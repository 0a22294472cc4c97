"""What differs between two bundles, by name: which load, file of code, parameter, library, gate or file. Pure.

Used by `roost lineage --diff` and for what differs from a version's parent. Always: bundles whose digests differ have
at least one change here, and equal ones none but the commit; what a finer change explains (the digest of all code
beside that of one file) is not told twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from registry_client import canonical_json
from registry_client.baseline.document import BASELINE_FILE
from registry_client.lineage.document import Change, Commit, Data, Difference, Gate, Load, Named, Origin, Sample, Table
from registry_client.lineage.reading import EVALUATION_FILE, flat
from registry_client.manifest import GOLDEN_FILE, MANIFEST_FILE, MODEL_FILE, FileEntry, Manifest

PARTS: Final = ("data", "code", "parameters", "environment", "gates", "interface", "meaning", "files", "commit")
"""In the order in which they are shown: causes first."""
NULL: Final = "null"
"""JSON's null, where a value is one: None stands for no value at all."""


def difference(
    before: Origin,
    after: Origin,
    names: tuple[Named, Named] | None = None,
    commits: tuple[Commit | None, Commit | None] = (None, None),
) -> Difference:
    """names: how both are called, where a registry numbers them. commits: those that they were made from, if known."""
    named = names or (Named(None, before.digest), Named(None, after.digest))
    changes = [
        *_data(before.data, after.data),
        *_code(before, after),
        *_leaves("parameters", before.parameters, after.parameters),
        *_leaves("environment", before.code.libraries, after.code.libraries),
        *_leaf("environment", "python", before.code.python, after.code.python),
        *_gates(before.gates, after.gates),
        *_interface(before.manifest, after.manifest),
        *_leaves("meaning", flat(before.manifest.meaning), flat(after.manifest.meaning)),
        *_files(before.manifest.files, after.manifest.files),
        *_commits(*commits),
    ]
    if before.digest != after.digest and not any(one.part != "commit" for one in changes):
        # Two spellings of what reads alike, such as a digest under another key.
        changes.append(Change("files", MANIFEST_FILE, before.digest, after.digest))
    graphs = [one.manifest.files[MODEL_FILE].sha256 for one in (before, after)]
    return Difference(*named, tuple(changes), graphs[0] != graphs[1])


def _data(before: Data, after: Data) -> Iterator[Change]:
    old, new = ({table.name: table for table in data.tables} for data in (before, after))
    for name in sorted({*old, *new}):
        yield from _table(name, old.get(name), new.get(name))
    taken = [dict(_sample_leaves(data.samples)) for data in (before, after)]
    yield from _leaves("data", taken[0], taken[1], "examples for ")
    yield from _leaves("data", before.source, after.source, "source.")
    yield from _leaves("data", before.other, after.other)


def _sample_leaves(samples: Iterable[Sample]) -> Iterator[tuple[str, str]]:
    for sample in samples:
        yield sample.name, _rows(sample.rows, sample.digest)
        for end, at_utc in (("from", sample.from_utc), ("to", sample.to_utc)):
            if at_utc is not None:
                yield f"{sample.name}, {end}", at_utc


def _table(name: str, before: Table | None, after: Table | None) -> Iterator[Change]:
    """Which loads differ; the table's own digest and version only where no load does."""
    if before is None or after is None:
        yield Change("data", f"table {name}", before and _table_text(before), after and _table_text(after))
        return
    old, new = ({load.name: _load_text(load) for load in table.loads} for table in (before, after))
    loads = list(_leaves("data", old, new, f"table {name}, load "))
    yield from loads
    if not loads and (before.rows, before.digest) != (after.rows, after.digest):
        yield Change("data", f"table {name}, rows", _rows(before.rows, before.digest), _rows(after.rows, after.digest))
    elif not loads and before.version != after.version:
        yield Change("data", f"table {name}, version (the same rows)", before.version, after.version)


def _table_text(table: Table) -> str:
    version = "no version" if table.version is None else f"version {table.version}"
    return f"{version}, {_rows(table.rows, table.digest)}"


def _load_text(load: Load) -> str:
    return _rows(load.rows, load.digest)


def _rows(rows: int | None, digest: str | None) -> str:
    """Whole: two digests may begin alike."""
    return f"{'unknown' if rows is None else f'{rows:,}'} rows, {digest or 'no digest'}"


def _code(before: Origin, after: Origin) -> Iterator[Change]:
    files = list(_leaves("code", before.code.files, after.code.files))
    yield from files
    if not files:
        yield from _leaf("code", "digest of all files", before.code.sha256, after.code.sha256)
    yield from _leaves("code", before.code.other, after.code.other)


def _gates(before: tuple[Gate, ...] | None, after: tuple[Gate, ...] | None) -> Iterator[Change]:
    if before is None or after is None:
        told = [None if gates is None else f"{len(gates)} gates" for gates in (before, after)]
        yield from _leaf("gates", "the evaluation", told[0], told[1])
        return
    yield from _leaves("gates", _gate_figures(before), _gate_figures(after))


def _gate_figures(gates: Iterable[Gate]) -> dict[str, Any]:
    """By gate and figure. A gate that failed in several places has several entries, each named by its place."""
    listed = list(gates)
    names = [gate.name for gate in listed]
    figures: dict[str, Any] = {}
    for gate in listed:
        name = gate.name if names.count(gate.name) == 1 else f"{gate.name} on {gate.on}"
        told = {"measured": gate.measured, "bound": gate.bound, "passed": gate.passed}
        figures |= {f"{name}, {figure}": value for figure, value in told.items() if value is not None}
    return figures


def _interface(before: Manifest, after: Manifest) -> Iterator[Change]:
    """What callers give and get, and how exactly golden answers must come out."""
    yield from _leaf("interface", "name", before.name, after.name)
    for end in ("inputs", "outputs"):
        old, new = (_tensors(getattr(manifest.signature, end)) for manifest in (before, after))
        yield from _leaves("interface", old, new, f"{end[:-1]} ")
    for what in ("inputs", "outputs"):
        order = [[spec.name for spec in getattr(manifest.signature, what)] for manifest in (before, after)]
        if sorted(order[0]) == sorted(order[1]):
            yield from _leaf("interface", f"order of {what}", order[0], order[1])
    labels = [None if one.class_labels is None else list(one.class_labels) for one in (before, after)]
    yield from _leaf("interface", "class labels", labels[0], labels[1])
    yield from _leaves("interface", vars(before.tolerance), vars(after.tolerance), "tolerance of golden answers, ")


def _tensors(specs: Iterable[Any]) -> dict[str, str]:
    return {spec.name: f"{spec.datatype.name} {list(spec.shape)}" for spec in specs}


def _files(before: Mapping[str, FileEntry], after: Mapping[str, FileEntry]) -> Iterator[Change]:
    """By bytes: the model's, golden examples', the baseline's and all others'."""
    old, new = ({name: _file_text(entry) for name, entry in files.items()} for files in (before, after))
    first = [name for name in (MODEL_FILE, GOLDEN_FILE, BASELINE_FILE, EVALUATION_FILE) if name in {*old, *new}]
    for name in (*first, *sorted({*old, *new} - set(first))):
        yield from _leaf("files", name, old.get(name), new.get(name))


def _file_text(entry: FileEntry) -> str:
    return f"{entry.size_bytes:,} bytes, {entry.sha256}"


def _commits(before: Commit | None, after: Commit | None) -> Iterator[Change]:
    """Beside the bundle, so that it may be the only thing that differs. Nothing where either is unknown."""
    if before is not None and after is not None:
        yield from _leaf("commit", "commit", before.id, after.id)
        yield from _leaf("commit", "uncommitted changes", before.dirty, after.dirty)


def _leaves(part: str, before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[Change]:
    for name in (*before, *(name for name in after if name not in before)):
        if name not in before or name not in after or not _same(before[name], after[name]):
            yield Change(part, prefix + name, _told(before, name), _told(after, name))


def _told(leaves: Mapping[str, Any], name: str) -> Any:
    return NULL if name in leaves and leaves[name] is None else leaves.get(name)


def _leaf(part: str, name: str, before: Any, after: Any) -> Iterator[Change]:
    if not _same(before, after):
        yield Change(part, name, before, after)


def _same(before: Any, after: Any) -> bool:
    """As JSON has them: 1, 1.0 and true are three values there, and have three digests."""
    return canonical_json.encode(before) == canonical_json.encode(after)
