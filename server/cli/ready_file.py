"""The ready file: real addresses and process ids as JSON, for scripts that start Roost on port 0.

Always: written in one step once everything answers, and removed when the stop begins; what stands there is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Addresses:
    """Where the server answers, with real ports."""

    listen: str
    http: str
    admin: str


def write_ready_file(path: Path, addresses: Addresses, pid: int, control: int, workers: Sequence[int]) -> None:
    """Replaces `path` by a rename, so that a reader finds the old file, none, or all of the new one."""
    content = asdict(addresses) | {"pid": pid, "control": control, "workers": list(workers)}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(content) + "\n", encoding="utf-8")
    unfinished.replace(path)
