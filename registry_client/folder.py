"""The folder registry: models kept in a plain folder, local or shared, with no service to run.

    ROOT/models/NAME.json     the index of one model: versions, aliases, tags; replaced whole at every change
    ROOT/bundles/DIGEST/      a bundle, written once
    ROOT/attachments/DIGEST/  files beside a version, each replaced whole
    ROOT/lock                 held (flock) by whoever changes an index

Always: a bundle is in place before an index names it; an index is replaced, never edited; numbers only grow. So a
reader needs no lock, and a writer that is killed leaves at most a bundle that nobody names. On a network file system
this needs a working flock and rename.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from registry_client import canonical_json
from registry_client.attachments import AttachmentFolder, Attachments, check_attachment
from registry_client.cache import BundleCache
from registry_client.canonical_json import Fields, as_strings
from registry_client.errors import BadDocument, NotInRegistry, RegistryRefused, VerificationFailed
from registry_client.manifest import check_digest, check_model_name, is_model_name
from registry_client.names import USUAL_ALIAS
from registry_client.placing import place_file
from registry_client.registry import Reference, Version, check_alias, check_tag, read_reference
from registry_client.verify import VerifiedBundle, read_regular, read_verified

FORMAT_VERSION = 1
INDEX_BYTES_MAX = 64 << 20


@dataclass(frozen=True)
class _Entry:
    digest: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Index:
    """aliases hold the digest beside the number: two records of one fact, so that damage to either shows."""

    name: str
    last_version: int = 0
    versions: dict[int, _Entry] = field(default_factory=dict)
    aliases: dict[str, tuple[int, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def version(self, number: int) -> Version:
        entry = self.versions[number]
        aliases = tuple(sorted(alias for alias, (pointed, _) in self.aliases.items() if pointed == number))
        return Version(self.name, number, entry.digest, aliases, dict(entry.tags))


class FolderRegistry:
    """A `Registry` under `root`, which is made at the first push. Safe between threads and processes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._bundles = BundleCache(root / "bundles")
        self._attachments = AttachmentFolder(root / "attachments")

    def push(
        self, folder: Path, name: str | None = None, aliases: Sequence[str] = (), digest: str | None = None
    ) -> Version:
        for alias in aliases:
            check_alias(alias)
        bundle = read_verified(folder, digest)
        if name not in (None, bundle.manifest.name):
            raise RegistryRefused(
                f"bundle {folder}", expected=f"one of model {name}", got=f"one of {bundle.manifest.name}",
                hint="Push it under its own name, or bundle it anew under the other.",
            )  # fmt: skip
        self._make_root()
        # Before the lock: copying a large bundle must not keep others waiting, and a bundle without index does no harm.
        self._bundles.put(bundle)
        with self._locked():
            index = self._read(bundle.manifest.name) or _Index(bundle.manifest.name)
            number = next((number for number, had in index.versions.items() if had.digest == bundle.digest), None)
            if number is None:
                number = index.last_version + 1
                versions = {**index.versions, number: _Entry(bundle.digest)}
                index = replace(index, last_version=number, versions=versions)
            pointed = dict.fromkeys(aliases, (number, bundle.digest))
            index = replace(index, aliases={**index.aliases, **pointed})
            self._write(index)
        return index.version(number)

    def names(self) -> tuple[str, ...]:
        folder = self._root / "models"
        if not folder.is_dir():
            return ()
        # Other files may lie there, such as notes or an editor's copies: only what can be a model's name is one.
        return tuple(sorted(path.stem for path in folder.glob("*.json") if is_model_name(path.stem)))

    def versions(self, name: str) -> tuple[Version, ...]:
        index = self._index(name)
        return tuple(index.version(number) for number in sorted(index.versions))

    def resolve(self, name: str, reference: Reference | None = None) -> Version:
        index = self._index(name)
        if reference is None and USUAL_ALIAS in index.aliases:
            return self._resolve_alias(index, USUAL_ALIAS)
        if reference is None:
            return index.version(max(index.versions))
        meant = read_reference(reference)
        if isinstance(meant, str):
            return self._resolve_alias(index, meant)
        return index.version(self._known(index, meant))

    def fetch(self, version: Version, cache: BundleCache) -> VerifiedBundle:
        bundle = cache.fetch(version.digest, lambda: self._bundles.get(version.digest))
        if bundle.manifest.name != version.name:
            raise VerificationFailed(
                f"{version.name}:{version.version}",
                expected=f"a bundle of model {version.name}",
                got=f"one of {bundle.manifest.name}, digest {version.digest}",
                hint="The index is damaged: restore it from a backup.",
            )
        return bundle

    def set_alias(self, name: str, alias: str, version: int) -> Version:
        return self._change(name, {alias: version}, {}).version(version)

    def remove_alias(self, name: str, alias: str) -> None:
        self._change(name, {alias: None}, {})

    def model_tags(self, name: str) -> Mapping[str, str]:
        return dict(self._index(name).tags)

    def set_model_tag(self, name: str, key: str, value: str | None) -> None:
        self._change(name, {}, {key: value})

    def record(self, name: str, aliases: Mapping[str, int | None], tags: Mapping[str, str]) -> None:
        self._change(name, aliases, tags)

    def set_tag(self, name: str, version: int, key: str, value: str | None) -> Version:
        check_tag(key, value)
        with self._locked():
            index = self._index(name)
            entry = index.versions[self._known(index, version)]
            tags = {had: text for had, text in entry.tags.items() if had != key}
            if value is not None:
                tags[key] = value
            index = replace(index, versions={**index.versions, version: replace(entry, tags=tags)})
            self._write(index)
        return index.version(version)

    def attach(self, name: str, version: int, file_name: str, content: bytes) -> None:
        check_attachment(file_name, content)
        digest = self.resolve(name, version).digest
        with self._locked():  # others may attach at the same time, and there must not be too many
            self._attachments.put(digest, file_name, content)

    def attachments(self, name: str, version: int) -> Attachments:
        return self._attachments.of(self.resolve(name, version).digest)

    def _change(self, name: str, aliases: Mapping[str, int | None], tags: Mapping[str, str | None]) -> _Index:
        """All of it in one step. None takes an alias or a tag of the model away."""
        for alias in aliases:
            check_alias(alias)
        for key, value in tags.items():
            check_tag(key, value)
        with self._locked():
            index = self._index(name)
            pointed = {
                alias: (self._known(index, number), index.versions[number].digest)
                for alias, number in aliases.items()
                if number is not None
            }
            kept_aliases = {alias: to for alias, to in index.aliases.items() if alias not in aliases}
            kept_tags = {key: value for key, value in index.tags.items() if key not in tags}
            set_tags = {key: value for key, value in tags.items() if value is not None}
            index = replace(index, aliases=kept_aliases | pointed, tags=kept_tags | set_tags)
            self._write(index)
        return index

    def _resolve_alias(self, index: _Index, alias: str) -> Version:
        if alias not in index.aliases:
            known = ", ".join(sorted(index.aliases)) or "none"
            raise NotInRegistry(
                f"{index.name}@{alias}", expected=f"an alias of {index.name} ({known})", got=repr(alias),
                hint=f"Set it: roost push DIR --alias {alias}.",
            )  # fmt: skip
        number, digest = index.aliases[alias]
        recorded = index.versions[number].digest if number in index.versions else "none"
        if recorded != digest:
            raise VerificationFailed(
                f"{index.name}@{alias}",
                expected=f"digest {digest} as the alias records it",
                got=f"digest {recorded} of version {number}",
                hint="The index is damaged: set the alias anew, after checking which version it should mean.",
            )
        return index.version(number)

    def _known(self, index: _Index, version: int) -> int:
        if version not in index.versions:
            known = ", ".join(str(number) for number in sorted(index.versions)[-10:])
            raise NotInRegistry(
                f"{index.name}:{version}",
                expected=f"a version of {index.name} (newest: {known})",
                got=f"{version}",
                hint=f"roost list --registry {self._root} shows them.",
            )
        return version

    def _index(self, name: str) -> _Index:
        index = self._read(check_model_name(name))
        if index is None or not index.versions:
            known = ", ".join(self.names()[:20]) or "none"
            raise NotInRegistry(
                f"model {name!r}", expected=f"one of the registry's models ({known})", got="another",
                hint=f"Push it: roost push DIR --registry {self._root}.",
            )  # fmt: skip
        return index

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._make_root()
        descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # which releases the lock, as the end of a killed process does

    def _make_root(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryRefused(
                f"registry {self._root}",
                expected="a folder to write in",
                got=f"{error.strerror}",
                hint="Check the path.",
            ) from error

    def _path(self, name: str) -> Path:
        return self._root / "models" / f"{name}.json"

    def _read(self, name: str) -> _Index | None:
        path = self._path(name)
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            data = read_regular(folder, path.name, INDEX_BYTES_MAX)
        except VerificationFailed as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        finally:
            os.close(folder)
        return _read_index(data, name, str(path))

    def _write(self, index: _Index) -> None:
        data = _index_bytes(index)
        if len(data) > INDEX_BYTES_MAX:
            raise RegistryRefused(
                f"index of {index.name}", expected=f"at most {INDEX_BYTES_MAX} bytes", got=f"{len(data)}",
                hint="Remove tags, or push under a new name.",
            )  # fmt: skip
        self._path(index.name).parent.mkdir(exist_ok=True)
        place_file(self._path(index.name), data)


def _index_bytes(index: _Index) -> bytes:
    versions = {str(number): {"digest": entry.digest, "tags": entry.tags} for number, entry in index.versions.items()}
    aliases = {alias: {"version": number, "digest": digest} for alias, (number, digest) in index.aliases.items()}
    return canonical_json.encode({
        "format": FORMAT_VERSION,
        "name": index.name,
        "last_version": index.last_version,
        "versions": versions,
        "aliases": aliases,
        **({"tags": index.tags} if index.tags else {}),
    })  # fmt: skip


def _read_index(data: bytes, name: str, what: str) -> _Index:
    root = Fields(canonical_json.parse(data, what), what)
    found = root.take("format", int), root.take("name", str), root.take("last_version", int)
    if found[:2] != (FORMAT_VERSION, name):
        raise BadDocument(
            what, expected=f"format {FORMAT_VERSION} of {name}", got=f"format {found[0]} of {found[1]}",
            hint="Restore the index from a backup.",
        )  # fmt: skip
    versions = {
        _read_number(number, root.path("versions"), found[2]): _read_entry(entry, root.path(f"versions.{number}"))
        for number, entry in root.take("versions", dict).items()
    }
    aliases = {
        check_alias(alias): _read_pointer(pointer, root.path(f"aliases.{alias}"))
        for alias, pointer in root.take("aliases", dict).items()
    }
    # An index written before models had tags has none.
    tags = as_strings(root.take("tags", dict), root.path("tags")) if root.has("tags") else {}
    root.end()
    return _Index(name, found[2], versions, aliases, tags)


def _read_number(text: str, what: str, last_version: int) -> int:
    number = int(text) if re.fullmatch("[1-9][0-9]{0,8}", text) else 0
    if not 1 <= number <= last_version:
        raise BadDocument(what, expected=f"numbers of 1 to {last_version}", got=repr(text[:40]), hint=_DAMAGED)
    return number


_DAMAGED = "The index is damaged: restore it from a backup."


def _read_entry(document: Any, what: str) -> _Entry:
    fields = Fields(document, what)
    digest = check_digest(fields.take("digest", str), fields.path("digest"))
    tags = as_strings(fields.take("tags", dict), fields.path("tags"))
    fields.end()
    return _Entry(digest, tags)


def _read_pointer(document: Any, what: str) -> tuple[int, str]:
    fields = Fields(document, what)
    pointer = fields.take("version", int), check_digest(fields.take("digest", str), fields.path("digest"))
    fields.end()
    return pointer
