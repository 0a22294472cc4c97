"""Bundles by digest: the local cache of what a registry holds, and the folder registry's own store.

Used by `Registry.fetch`. Always: a bundle is verified when it enters and each time it leaves; an entry that has been
damaged is thrown away and fetched again, never served. Safe between processes that share the folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from registry_client.attachments import AttachmentFolder
from registry_client.errors import ArtifactError
from registry_client.manifest import check_digest
from registry_client.placing import place_folder, remove_folder
from registry_client.verify import VerifiedBundle, check_files, read_verified


class BundleCache:
    """A folder with one bundle for each digest, named by it. Entries are never changed; remove any when you like."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: str) -> Path:
        return self._root / check_digest(digest)

    @property
    def attachments(self) -> AttachmentFolder:
        """What is kept beside the bundles: signatures, which verify themselves."""
        return AttachmentFolder(self._root / "attachments")

    def get(self, digest: str) -> VerifiedBundle:
        """The entry, verified. Raises VerificationFailed or BadDocument where it is missing or damaged."""
        return read_verified(self.path(digest), digest)

    def put(self, bundle: VerifiedBundle) -> None:
        """Keep a bundle. An entry that is there already is verified, and replaced if damaged."""
        check_files(bundle, bundle.digest)
        if place_folder(self.path(bundle.digest), bundle.all_files()) or self._sound(bundle.digest) is not None:
            return
        remove_folder(self.path(bundle.digest))
        # Where another process was quicker with the same repair, its entry is the same bytes: verified below.
        place_folder(self.path(bundle.digest), bundle.all_files())
        self.get(bundle.digest)

    def fetch(self, digest: str, source: Callable[[], VerifiedBundle]) -> VerifiedBundle:
        """The bundle with this digest, from here or else from `source`, then kept. `source` is not trusted."""
        kept = self._sound(digest)
        if kept is not None:
            return kept
        bundle = source()
        check_files(bundle, digest)
        self.put(bundle)
        return self.get(digest)

    def _sound(self, digest: str) -> VerifiedBundle | None:
        """The entry, or None where it is missing or damaged: both are mended by putting it there."""
        try:
            return self.get(digest)
        except ArtifactError:
            return None
