"""One server a state folder: held by the parent as long as the server runs, whatever becomes of its children.

Two servers that wrote one journal would lose each other's decisions. The file says which process has it: the one that
`roost rollback --local --pid` wants. Always: the lock goes with the process.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from server.cli.configuration import ConfigurationError

NAME: Final = "lock"


def hold_state(folder: Path) -> int:
    """The descriptor that holds the lock. Raises ConfigurationError where another server has it, or none can be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigurationError(
            [
                f"lifecycle.state: expected a folder to write in, got {str(folder)!r}: {error.strerror}. "
                "Name one with --state."
            ]
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 20).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise ConfigurationError(
            [
                f"lifecycle.state: expected a folder of this server's own, got {str(folder)!r}, which another "
                f"server has (process {holder}). Use that one, or give each its own with --state."
            ]
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor
