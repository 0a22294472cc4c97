"""Folders and files put in place whole or not at all, and durably.

Used to write bundles, cache entries and the folder registry's index.
Always: under the final name a reader finds either nothing, the old content, or all of the new. What a killed process
leaves behind has a name that starts with a dot and is never read; it may be deleted when nothing is being written.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def place_folder(target: Path, files: Mapping[str, bytes]) -> bool:
    """Make `target` a folder of exactly these files. False, and nothing changed, where the name is taken."""
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=target.parent))
    try:
        for name, content in files.items():
            _write_durably(incoming / name, content)
        incoming.chmod(0o755)  # mkdtemp's 0700 would shut out a server that runs as another user
        _sync_folder(incoming)
        try:
            incoming.rename(target)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
        _sync_folder(target.parent)
        return True
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def place_file(target: Path, content: bytes) -> None:
    """Write `target`, in place of what was there."""
    incoming = target.with_name(f".incoming-{secrets.token_hex(8)}")
    try:
        _write_durably(incoming, content)
        incoming.replace(target)
    finally:
        incoming.unlink(missing_ok=True)
    _sync_folder(target.parent)


def remove_folder(target: Path) -> None:
    """Take `target` away at once by renaming it, then delete it. No error where another process was first."""
    aside = target.with_name(f".discarded-{secrets.token_hex(8)}")
    try:
        target.rename(aside)
    except FileNotFoundError:
        return
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink(missing_ok=True)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
