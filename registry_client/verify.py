"""Verification: a bundle's bytes, each read once, hashed, and handed over only where the manifest vouches for them.

Used by the command line, the cache, registries, and the worker, which builds its session from these very bytes.
Always: what a `VerifiedBundle` holds is what was hashed. Nothing is read twice, no symbolic link is followed, and no
file is read beyond the size that its manifest states.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry_client.baseline.document import BASELINE_FILE, Baseline, read_baseline
from registry_client.baseline.fitting import check_baseline_fits
from registry_client.errors import VerificationFailed
from registry_client.golden import Golden, Run, check_fits, check_golden, read_golden
from registry_client.manifest import (
    DIGEST_FILE,
    FILES_MAX,
    GOLDEN_FILE,
    MANIFEST_BYTES_MAX,
    MANIFEST_FILE,
    MODEL_FILE,
    FileEntry,
    Manifest,
    check_digest,
    read_manifest,
    sha256_hex,
)
from registry_client.reading import read_at_most

_DIGEST_FILE_BYTES_MAX = 4096
_DAMAGED = "Do not serve it: fetch it again from the registry, or bundle it anew."


@dataclass(frozen=True)
class VerifiedBundle:
    """files: the files that the manifest names, by name. digest: sha256 of the manifest's bytes."""

    manifest: Manifest
    digest: str
    files: Mapping[str, bytes]

    @property
    def model_bytes(self) -> bytes:
        return self.files[MODEL_FILE]

    def golden(self) -> Golden:
        return read_golden(self.files[GOLDEN_FILE])

    def baseline(self) -> Baseline | None:
        """What the model was trained on, by bin; None where the bundle does not say. Raises BadDocument."""
        return read_baseline(self.files[BASELINE_FILE]) if BASELINE_FILE in self.files else None

    def all_files(self) -> dict[str, bytes]:
        """Everything that the bundle's folder holds: the files, the manifest and its digest."""
        own = {MANIFEST_FILE: self.manifest.to_bytes(), DIGEST_FILE: self.manifest.digest_line()}
        return {**self.files, **own}


def read_verified(folder: Path, expected_digest: str | None = None) -> VerifiedBundle:
    """The bundle in `folder`. Raises VerificationFailed or BadDocument, naming the file and both hashes.

    Without `expected_digest` this proves that the bundle is whole, not where it comes from: give the registry's digest
    before you serve.
    """
    if expected_digest is not None:
        check_digest(expected_digest, "expected digest")
    with _opened_folder(folder) as descriptor:
        manifest = _read_manifest(descriptor, expected_digest)
        _refuse_strangers(descriptor, manifest)
        files = {name: _read_entry(descriptor, name, entry) for name, entry in sorted(manifest.files.items())}
    return VerifiedBundle(manifest, manifest.digest, files)


def check_files(bundle: VerifiedBundle, expected_digest: str) -> None:
    """The bytes in memory, as a source handed them over, are those that `expected_digest` stands for."""
    if bundle.manifest.digest != expected_digest:
        raise VerificationFailed(
            f"bundle of {bundle.manifest.name}",
            expected=f"digest {expected_digest}",
            got=f"digest {bundle.manifest.digest}",
            hint="The registry gives something else than it records: do not serve it.",
        )
    for name, entry in bundle.manifest.files.items():
        if name not in bundle.files:
            raise VerificationFailed(name, expected="the file", got="none", hint=_DAMAGED)
        _check_content(name, entry, bundle.files[name])
    if strangers := sorted(bundle.files.keys() - bundle.manifest.files.keys()):
        raise VerificationFailed(
            repr(strangers[0]), expected="only files that the manifest names", got="another", hint=_DAMAGED
        )


def check_contents(bundle: VerifiedBundle, run: Run | None = None) -> None:
    """The model's signature and labels are the manifest's, the golden examples fit and, given `run`, come out.

    A baseline, where there is one, has features of that signature only.
    """
    # Imported here: who only resolves or copies, as the server's parent does, keeps onnx out of its memory.
    from registry_client.onnx_model import read_onnx

    model = read_onnx(bundle.model_bytes)
    if model.signature != bundle.manifest.signature:
        raise VerificationFailed(
            f"{MANIFEST_FILE}: signature",
            expected=f"that of {MODEL_FILE}: {model.signature}",
            got=f"{bundle.manifest.signature}",
            hint="Bundle the model anew.",
        )
    if model.class_labels is not None and model.class_labels != bundle.manifest.class_labels:
        raise VerificationFailed(
            f"{MANIFEST_FILE}: class_labels",
            expected=f"those of {MODEL_FILE}: {_shown(model.class_labels)}",
            got=_shown(bundle.manifest.class_labels),
            hint="Bundle the model anew; other words for its labels belong into meaning.",
        )
    baseline = bundle.baseline()
    if baseline is not None:
        check_baseline_fits(baseline, bundle.manifest.signature)
    golden = bundle.golden()
    check_fits(golden, bundle.manifest.signature)
    if run is not None:
        check_golden(golden, run, bundle.manifest.tolerance.rtol, bundle.manifest.tolerance.atol)


def _shown(labels: tuple[str | int, ...] | None) -> str:
    return "none" if labels is None else str(list(labels))[:200]


@contextmanager
def _opened_folder(folder: Path) -> Iterator[int]:
    """The folder's descriptor: all files are opened through it, so that none is swapped for another path's."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        got = "a file" if folder.exists() else "nothing there"
        raise VerificationFailed(
            str(folder), expected="a bundle's folder", got=got, hint="roost bundle makes one, roost pull fetches one."
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_manifest(folder: int, expected_digest: str | None) -> Manifest:
    """The manifest, compared with what vouches for it before a word of it is believed."""
    found = read_regular(folder, MANIFEST_FILE, MANIFEST_BYTES_MAX)
    digest = sha256_hex(found)
    if expected_digest is not None and digest != expected_digest:
        raise VerificationFailed(
            MANIFEST_FILE, expected=f"digest {expected_digest}", got=f"digest {digest}", hint=_DAMAGED
        )
    beside = read_regular(folder, DIGEST_FILE, _DIGEST_FILE_BYTES_MAX)
    if beside != f"{digest}  {MANIFEST_FILE}\n".encode("ascii"):
        stated = beside[:64].decode("ascii", "backslashreplace")
        raise VerificationFailed(
            f"{MANIFEST_FILE} or {DIGEST_FILE}",
            expected=f"sha256 {stated} as {DIGEST_FILE} states it",
            got=f"sha256 {digest}",
            hint=_DAMAGED,
        )
    return read_manifest(found)


def _refuse_strangers(folder: int, manifest: Manifest) -> None:
    named = {MANIFEST_FILE, DIGEST_FILE, *manifest.files}
    with os.scandir(folder) as entries:
        for index, entry in enumerate(entries):
            if entry.name not in named or index > FILES_MAX + 2:
                raise VerificationFailed(
                    repr(entry.name),
                    expected="only files that the manifest names",
                    got="one it does not name",
                    hint="Remove it; to bundle more files, use roost bundle.",
                )


def _read_entry(folder: int, name: str, entry: FileEntry) -> bytes:
    content = read_regular(folder, name, entry.size_bytes)
    _check_content(name, entry, content)
    return content


def _check_content(name: str, entry: FileEntry, content: bytes) -> None:
    sha256 = sha256_hex(content)
    if len(content) != entry.size_bytes or sha256 != entry.sha256:
        raise VerificationFailed(
            name,
            expected=f"sha256 {entry.sha256} of {entry.size_bytes} bytes",
            got=f"sha256 {sha256} of {len(content)} bytes",
            hint=_DAMAGED,
        )


def read_regular(folder: int, name: str, size_bytes_max: int) -> bytes:
    """The regular file `name`, if it is no longer than allowed. The size is judged by what is read, not by stat."""
    try:
        # O_NONBLOCK: opening a FIFO must not wait for a writer. For a regular file it does nothing.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError as error:
        raise VerificationFailed(name, expected="the file", got="none", hint=_DAMAGED) from error
    except OSError as error:
        if _is_link(folder, name):
            raise VerificationFailed(
                name, expected="a regular file", got="a symbolic link", hint="Put the file itself there."
            ) from error
        raise VerificationFailed(name, expected="a readable file", got=f"{error.strerror}", hint="Check it.") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise VerificationFailed(
                name, expected="a regular file", got="another kind of file", hint="Put the file itself there."
            )
        content = read_at_most(descriptor, size_bytes_max + 1)
    finally:
        os.close(descriptor)
    if len(content) > size_bytes_max:
        raise VerificationFailed(
            name, expected=f"at most {size_bytes_max} bytes", got="more", hint="Something was appended. " + _DAMAGED
        )
    return content


def _is_link(folder: int, name: str) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
