"""Files in MLflow's artifact stores: those of one folder, listed before any of them is fetched.

Used by `mlflow_registry.py`, which says whose they are. Always: what is larger than its bound is refused before it is
copied, since on SQLite a version may name any path of this machine as its source; and what is read is a copy: a local
store would hand out its own folder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath
from typing import Final

from mlflow.artifacts import download_artifacts, list_artifacts

from registry_client.errors import BadDocument, NotInRegistry, VerificationFailed
from registry_client.manifest import BUNDLE_BYTES_MAX, DIGEST_FILE, FILES_MAX, MANIFEST_BYTES_MAX, MANIFEST_FILE
from registry_client.reading import read_at_most
from registry_client.verify import VerifiedBundle, read_verified

# MLflow leaves it beside a registered version's files.
LEFT_BY_MLFLOW: Final = "registered_model_meta"
ENTRIES_MAX: Final = FILES_MAX + len((MANIFEST_FILE, DIGEST_FILE, LEFT_BY_MLFLOW))


class ArtifactFolder:
    """source: its URI, as the registry gives it for a version. what: how refusals name it. mend: what they advise."""

    def __init__(
        self, source: str, tracking_uri: str, what: str, mend: str = "Log the model anew with mlflow.onnx."
    ) -> None:
        self._source, self._tracking_uri, self._what, self._mend = source, tracking_uri, what, mend

    def read_bundle(self, digest: str) -> VerifiedBundle:
        """The bundle that it is, verified against `digest`."""
        sizes = self._sizes()
        folders = sum(size is None for size in sizes.values())
        size_bytes = sum(size or 0 for size in sizes.values())
        if folders or len(sizes) > ENTRIES_MAX or size_bytes > BUNDLE_BYTES_MAX + 2 * MANIFEST_BYTES_MAX:
            raise VerificationFailed(
                f"files of {self._what}", expected=f"a bundle's, at most {FILES_MAX} with {BUNDLE_BYTES_MAX} bytes",
                got=f"{len(sizes)} with {size_bytes} bytes, folders among them: {folders}",
                hint="Do not serve it: register the bundle anew.",
            )  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="roost-fetch-") as folder:
            files = Path(self._copied(self._source, folder))
            (files / LEFT_BY_MLFLOW).unlink(missing_ok=True)
            return read_verified(files, digest)

    def read_file(self, name: str, bytes_max: int) -> bytes:
        """One file, which nothing vouches for."""
        sizes = self._sizes()
        if sizes.get(name) is None:
            raise NotInRegistry(
                f"{self._what}: {name}", expected="it among the version's files",
                got=", ".join(sorted(sizes)[:10]) or "no file", hint=self._mend,
            )  # fmt: skip
        self._check_size(name, sizes[name] or 0, bytes_max)
        with (
            tempfile.TemporaryDirectory(prefix="roost-adopt-") as folder,
            open(self._copied(f"{self._source}/{name}", folder), "rb") as copy,
        ):
            content = read_at_most(copy.fileno(), bytes_max + 1)
        self._check_size(name, len(content), bytes_max)
        return content

    def names(self) -> tuple[str, ...]:
        """Of its files; none where there is no such folder."""
        return tuple(name for name, size in self._sizes().items() if size is not None)

    def _sizes(self) -> dict[str, int | None]:
        """By name; None for a folder. A store that does not tell a file's size has it measured when it is read."""
        listed = list_artifacts(artifact_uri=self._source, tracking_uri=self._tracking_uri)
        return {PurePosixPath(one.path).name: None if one.is_dir else one.file_size or 0 for one in listed}

    def _copied(self, uri: str, folder: str) -> str:
        return str(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self._tracking_uri))

    def _check_size(self, name: str, size_bytes: int, bytes_max: int) -> None:
        if size_bytes > bytes_max:
            raise BadDocument(
                f"{self._what}: {name}", expected=f"at most {bytes_max} bytes", got=f"{size_bytes}",
                hint=f"A smaller one is taken. {self._mend}",
            )  # fmt: skip
