"""What hangs beside a version, outside its digest: where it comes from, comparisons, evidence of rollouts, signatures.

Read and replaced by name through `Registry.attach` and `Registry.attachments`; the folder registry and the cache keep
them in an `AttachmentFolder`. Nothing vouches for an attachment: a server parses none but signatures, which are checked
against the bundle's digests. Always: names are flat, and sizes are bounded, when they are written and when they are
read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from registry_client.errors import BadDocument, NotInRegistry, RegistryRefused, VerificationFailed
from registry_client.manifest import DIGEST_FILE, MANIFEST_FILE, check_digest, is_model_name
from registry_client.placing import place_file
from registry_client.verify import read_regular

ATTACHMENT_BYTES_MAX: Final = 16 << 20
ATTACHMENTS_MAX: Final = 64
"""Of one version."""
ATTACH_ANEW: Final = "Attach it anew, or look again at what is attached."

ReadAttachment = Callable[[str, int], bytes]
"""A name and how many bytes it may have; raises an ArtifactError where it has more, or is gone."""


class Attachments(Mapping[str, bytes]):
    """Those of one version, by name, as they were listed. Each is read when it is asked for, and again each time.

    Raises what the registry raises: NotInRegistry for one that is gone since, an ArtifactError for one too large.
    """

    def __init__(self, names: Iterable[str], read: ReadAttachment) -> None:
        self._names = tuple(sorted(names))
        self._read = read

    def __getitem__(self, name: str) -> bytes:
        return self.read(name, ATTACHMENT_BYTES_MAX)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names  # the mapping's own would read it

    def read(self, name: str, bytes_max: int) -> bytes:
        """The same within a bound of the caller's, for who knows how large it can be."""
        if name not in self._names:
            raise KeyError(name)
        return self._read(name, bytes_max)


class AttachmentFolder:
    """ROOT/DIGEST/NAME. Several may write: each file is replaced whole; who counts on ATTACHMENTS_MAX holds a lock."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, digest: str, name: str, content: bytes) -> None:
        """Raises RegistryRefused where another name would be one too many."""
        check_attachment(name, content)
        folder = self._folder(digest)
        check_room(name, _listed(folder))
        folder.mkdir(parents=True, exist_ok=True)
        place_file(folder / name, content)

    def of(self, digest: str) -> Attachments:
        """Those of the version with this digest; none where nothing was attached. Raises VerificationFailed."""
        folder = self._folder(digest)
        return Attachments(checked_names(_listed(folder), str(folder)), lambda name, most: _read(folder, name, most))

    def _folder(self, digest: str) -> Path:
        return self._root / check_digest(digest)


def is_attachment_name(name: str) -> bool:
    """Flat, as files of a bundle are, and none of a bundle's own records."""
    return is_model_name(name) and name not in (MANIFEST_FILE, DIGEST_FILE)


def check_attachment(name: str, content: bytes) -> None:
    """Raises BadDocument."""
    if not is_attachment_name(name):
        raise BadDocument(
            "attachment",
            expected="a plain file name of letters, digits, '.', '_', '-', and none of a bundle's own records",
            got=repr(name[:120]), hint="Rename it.",
        )  # fmt: skip
    if len(content) > ATTACHMENT_BYTES_MAX:
        raise BadDocument(
            f"attachment {name}", expected=f"at most {ATTACHMENT_BYTES_MAX} bytes", got=f"{len(content)}",
            hint="Keep large files elsewhere, and attach where they are.",
        )  # fmt: skip


def check_room(name: str, names: Iterable[str]) -> None:
    """Raises RegistryRefused where `name` is a new one and `names` are as many as may be."""
    had = set(names)
    if name not in had and len(had) >= ATTACHMENTS_MAX:
        raise RegistryRefused(
            f"attachment {name}", expected=f"at most {ATTACHMENTS_MAX} of a version", got="one more",
            hint="Attach it under the name of one that it replaces.",
        )  # fmt: skip


def checked_names(names: Iterable[str], what: str) -> tuple[str, ...]:
    """Those that can be attachments: strangers are none of ours. Raises VerificationFailed for more than may be."""
    found = tuple(name for name in names if is_attachment_name(name))
    if len(found) > ATTACHMENTS_MAX:
        raise VerificationFailed(
            f"attachments of {what}", expected=f"at most {ATTACHMENTS_MAX}", got=f"{len(found)}",
            hint="Remove those that Roost did not write.",
        )  # fmt: skip
    return found


def _listed(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if is_attachment_name(entry.name)]
    except FileNotFoundError:
        return []


def _read(folder: Path, name: str, bytes_max: int) -> bytes:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _gone(name) from None
    try:
        return read_regular(descriptor, name, bytes_max)
    except VerificationFailed as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise _gone(name) from None
        raise VerificationFailed(
            f"attachment {name}", expected=error.expected, got=error.got, hint=ATTACH_ANEW
        ) from error
    finally:
        os.close(descriptor)


def _gone(name: str) -> NotInRegistry:
    return NotInRegistry(f"attachment {name}", expected="it beside the version", got="none now", hint=ATTACH_ANEW)
