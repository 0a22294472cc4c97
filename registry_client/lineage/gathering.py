"""A version's lineage, gathered: the bundle, what hangs beside the version, its relatives, and a journal's entries.

Used by `roost lineage`, which brings the journal. Always: the bundle was verified before anything of it is shown;
attachments are read within a bound, and one that cannot be read is named and costs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError, NotInRegistry, RegistryUnavailable
from registry_client.lineage.difference import difference
from registry_client.lineage.document import (
    Attached,
    Beside,
    Commit,
    Difference,
    Journal,
    Named,
    Note,
    Origin,
    Part,
    Promotion,
    Provenance,
    Served,
    VersionLineage,
)
from registry_client.lineage.reading import EVALUATION_FILE, origin, origin_without_gates, read_object, read_provenance
from registry_client.lineage.serving import about, digest_in, moment, stays
from registry_client.lineage.shown import counted
from registry_client.registry import Registry, Version
from registry_client.signing.signatures import is_signature_name
from registry_client.verify import VerifiedBundle

PROVENANCE_FILE: Final = "provenance.json"
COMPARISON_FILE: Final = "comparison.json"
ROLLOUT: Final = "rollout"
"""How the names begin of what the deploy stage attaches."""
DOCUMENT_BYTES_MAX: Final = 4 << 20
ROLLOUTS_MAX: Final = 16
"""The newest, by name."""
CHILDREN_MAX: Final = 32
"""So many later versions are asked for their parent, the next first."""

NO_REGISTRY: Final = "not recorded: a bundle's folder has nothing beside it; give --registry and the model's name"
DAMAGED: Final = "damaged, and left out"
OWN_ROLLOUTS: Final = "the evidence of its own rollouts, which knows nothing of what came after them"
NO_JOURNAL: Final = "no journal was asked: give --admin HOST:PORT, or --state with a server's state folder"


@dataclass
class _Notes:
    """What is found missing or damaged on the way."""

    missing: list[Note] = field(default_factory=list)
    damaged: list[Note] = field(default_factory=list)

    def lacks(self, part: Part, text: str) -> None:
        self.missing.append(Note(part, text))

    def broken(self, what: str, error: Exception) -> None:
        self.damaged.append(Note(what, str(error).removeprefix(f"{what}: ")))


def of_version(
    registry: Registry, version: Version, bundle: VerifiedBundle, cache: BundleCache, journal: Journal | None = None
) -> VersionLineage:
    """Of one version. bundle: what `registry.fetch` gave. cache: for the parent's bundle.

    Raises RegistryUnavailable where the registry no longer lists its versions.
    """
    notes = _Notes()
    own = _origin(bundle, notes)
    beside = _beside(registry, version, notes)
    siblings = registry.versions(version.name)
    parent = _parent(beside.provenance, siblings, notes)
    return VersionLineage(
        name=version.name,
        version=version.version,
        aliases=version.aliases,
        tags=version.tags,
        origin=own,
        beside=beside,
        parent=parent,
        children=tuple(_children(registry, version, siblings, notes)),
        since_parent=_since_parent(registry, version, own, beside, parent, cache, notes),
        served=_served(journal or _rollouts_journal(beside), version.name, bundle.digest, notes),
        missing=tuple(notes.missing),
        damaged=tuple(notes.damaged),
    )


def of_bundle(bundle: VerifiedBundle, journal: Journal | None = None) -> VersionLineage:
    """Of a bundle's folder, which has no version, and so nothing beside it."""
    notes = _Notes()
    own = _origin(bundle, notes)
    beside: tuple[Part, ...] = ("provenance", "comparison", "parent", "children")
    for part in beside:
        notes.lacks(part, NO_REGISTRY)
    name = bundle.manifest.name
    served = _served(journal, name, bundle.digest, notes)
    missing, damaged = tuple(notes.missing), tuple(notes.damaged)
    return VersionLineage(name, None, (), {}, own, Beside(), None, None, None, served, missing, damaged)


def between(before: VersionLineage, after: VersionLineage) -> Difference:
    """What differs between two that were gathered."""
    return difference(before.origin, after.origin, (_named(before), _named(after)), (_commit(before), _commit(after)))


def _named(lineage: VersionLineage) -> Named:
    return Named(lineage.version, lineage.origin.digest, lineage.aliases)


def _commit(lineage: VersionLineage) -> Commit | None:
    return None if lineage.beside.provenance is None else lineage.beside.provenance.commit


def _origin(bundle: VerifiedBundle, notes: _Notes) -> Origin:
    try:
        own = origin(bundle)
    except ArtifactError as error:
        notes.broken(EVALUATION_FILE, error)
        notes.lacks("gates", DAMAGED)
        return origin_without_gates(bundle)
    if own.gates is None:
        notes.lacks("gates", "not recorded: the bundle has no evaluation with gates")
    return own


def _beside(registry: Registry, version: Version, notes: _Notes) -> Beside:
    documents = _documents(registry, version, notes)
    found = documents.objects
    provenance = _provenance(found.get(PROVENANCE_FILE), notes)
    if provenance is None:
        why = "not recorded: no pipeline registered this version"
        notes.lacks("provenance", DAMAGED if PROVENANCE_FILE in documents.names else why)
    if COMPARISON_FILE not in found:
        why = "not recorded: it was not compared with a stable version when it was registered"
        notes.lacks("comparison", DAMAGED if COMPARISON_FILE in documents.names else why)
    known = {PROVENANCE_FILE, COMPARISON_FILE}
    rollouts = sorted((name for name in found if name not in known), reverse=True)
    signatures = tuple(name for name in documents.names if is_signature_name(name))
    return Beside(
        provenance=provenance,
        comparison=Attached(COMPARISON_FILE, found[COMPARISON_FILE]) if COMPARISON_FILE in found else None,
        rollouts=tuple(Attached(name, found[name]) for name in rollouts),
        signatures=signatures,
        others=tuple(name for name in documents.names if name not in (*known, *found, *signatures)),
    )


@dataclass(frozen=True)
class _Documents:
    """names: of all attachments. objects: those of ours that could be read."""

    names: tuple[str, ...]
    objects: Mapping[str, Mapping[str, Any]]


def _documents(registry: Registry, version: Version, notes: _Notes) -> _Documents:
    try:
        attached = registry.attachments(version.name, version.version)
    except ArtifactError as error:
        notes.broken("attachments", error)
        return _Documents((), {})
    names = tuple(sorted(attached))
    rollouts = [name for name in names if name.startswith(ROLLOUT) and name.endswith(".json")][-ROLLOUTS_MAX:]
    objects = {}
    for name in (PROVENANCE_FILE, COMPARISON_FILE, *rollouts):
        if name in names:
            try:
                objects[name] = read_object(attached.read(name, DOCUMENT_BYTES_MAX), name)
            except ArtifactError as error:
                notes.broken(name, error)
    return _Documents(names, objects)


def _provenance(document: Mapping[str, Any] | None, notes: _Notes) -> Provenance | None:
    try:
        return None if document is None else read_provenance(document, PROVENANCE_FILE)
    except ArtifactError as error:
        notes.broken(PROVENANCE_FILE, error)
        return None


def _parent(provenance: Provenance | None, siblings: Sequence[Version], notes: _Notes) -> Named | None:
    """As it was recorded; with its number and aliases here where the registry has that digest."""
    if provenance is None:
        notes.missing += [Note("parent", note.text) for note in notes.missing if note.part == "provenance"]
        return None
    if provenance.parent is None:
        notes.lacks("parent", "none: no version was stable when this one was registered")
        return None
    recorded = provenance.parent
    here = next((one for one in siblings if one.digest == recorded.digest), None)
    if here is None:
        notes.lacks("since_parent", "the parent is not in this registry")
        return Named(None, recorded.digest)
    return Named(here.version, here.digest, here.aliases)


def _children(
    registry: Registry, version: Version, siblings: Sequence[Version], notes: _Notes
) -> Iterator[Named]:
    """Later versions that name this one as their parent."""
    later = [one for one in siblings if one.version > version.version]
    if len(later) > CHILDREN_MAX:
        text = f"only the next {CHILDREN_MAX} of {len(later)} later versions were asked for their parent"
        notes.lacks("children", text)
    for one in later[:CHILDREN_MAX]:
        try:
            content = registry.attachments(one.name, one.version).read(PROVENANCE_FILE, DOCUMENT_BYTES_MAX)
            parent = read_provenance(read_object(content, PROVENANCE_FILE), PROVENANCE_FILE).parent
        except (KeyError, NotInRegistry):
            continue  # it has no provenance
        except RegistryUnavailable as error:
            notes.broken("later versions", error)
            return  # each of them would be waited for
        except ArtifactError as error:
            notes.broken(f"{PROVENANCE_FILE} of version {one.version}", error)
            continue
        if parent is not None and parent.digest == version.digest:
            yield Named(one.version, one.digest, one.aliases)


def _since_parent(
    registry: Registry,
    version: Version,
    own: Origin,
    beside: Beside,
    parent: Named | None,
    cache: BundleCache,
    notes: _Notes,
) -> Difference | None:
    if parent is None or parent.version is None:
        return None
    quiet = _Notes()  # what is wrong beside the parent is told of the parent
    try:
        there = registry.resolve(version.name, parent.version)
        bundle = registry.fetch(there, cache)
    except ArtifactError as error:
        notes.broken(f"version {parent.version}, the parent", error)
        return None
    provenance = _beside(registry, there, quiet).provenance
    commits = tuple(None if one is None else one.commit for one in (provenance, beside.provenance))
    names = parent, Named(version.version, version.digest, version.aliases)
    return difference(_origin(bundle, quiet), own, names, (commits[0], commits[1]))


def _served(journal: Journal | None, name: str, digest: str, notes: _Notes) -> Served | None:
    if journal is None:
        notes.lacks("served", NO_JOURNAL)
        return None
    entries = [entry for entry in journal.entries if entry.get("model") == name]
    timed = [entry for entry in entries if _has_time(entry)]
    if len(timed) < len(entries):
        left_out = f"{counted(len(entries) - len(timed), 'entry', 'entries')} without a time, left out"
        notes.damaged.append(Note("journal", left_out))
    return Served(
        journal.source,
        journal.whole,
        stays(timed, digest),
        tuple(_promotion(entry) for entry in timed if _makes_stable(entry, digest)),
        about(timed, digest),
    )


def _rollouts_journal(beside: Beside) -> Journal | None:
    """The entries that the deploy stage attached, oldest rollout first: all there is where no journal is asked."""
    listed = [rollout.document.get("journal") for rollout in reversed(beside.rollouts)]
    entries = [entry for found in listed if isinstance(found, list) for entry in found if isinstance(entry, dict)]
    return Journal(tuple(entries), OWN_ROLLOUTS, whole=False) if entries else None


def _has_time(entry: Mapping[str, Any]) -> bool:
    try:
        moment(entry.get("at_utc"))
    except ValueError:
        return False
    return True


def _makes_stable(entry: Mapping[str, Any], digest: str) -> bool:
    return digest_in(entry.get("to"), "stable") == digest and digest_in(entry.get("from"), "stable") != digest


def _promotion(entry: Mapping[str, Any]) -> Promotion:
    operator, reason = entry.get("operator"), entry.get("reason")
    number = entry.get("number")
    return Promotion(
        number=number if type(number) is int else 0,
        at_utc=str(entry["at_utc"]),
        kind=str(entry.get("kind", "")),
        operator=operator if isinstance(operator, str) and operator else None,
        reason=reason if isinstance(reason, str) else "",
    )
