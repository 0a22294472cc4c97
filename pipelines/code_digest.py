"""Code digest: which code a bundle was made by, file by file. Used by training's run and by the bundle's lineage.

Always: of the files' bytes and their places below the repository alone, so that a clone elsewhere gives the same; what
runs after a bundle is made (register, deploy, scoring, poison, commands) is not in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pipelines.definition import Definition
from registry_client import canonical_json

PIPELINES: Final = Path(__file__).parent
CONTRACTS: Final = ("definition.py", "examples.py", "parameters.py", "refusal.py", "work.py")
ROOMS: Final = ("artifact", "evaluation", "features", "lake", "stages", "training")
AFTERWARDS: Final = ("stages/deploy.py", "stages/register.py")
"""They take a bundle and change nothing of it."""
SUFFIXES: Final = frozenset({".css", ".html", ".j2", ".jinja", ".json", ".md", ".py", ".svg", ".txt"})
"""Code, and templates and tables that it reads; not what an editor or an interpreter left beside it."""


def code_digest(definition: Definition) -> dict[str, Any]:
    """{"sha256": of the whole, "files": {path, such as pipelines/examples.py: sha256}} for this example's bundles."""
    paths = {path.relative_to(PIPELINES.parent).as_posix(): path for path in _files(definition)}
    files = {name: hashlib.sha256(paths[name].read_bytes()).hexdigest() for name in sorted(paths)}
    return {"sha256": hashlib.sha256(canonical_json.encode(files)).hexdigest(), "files": files}


def _files(definition: Definition) -> Iterator[Path]:
    yield from (PIPELINES / name for name in CONTRACTS)
    for folder in (*(PIPELINES / room for room in ROOMS), definition.folder):
        for path in folder.rglob("*"):
            inside = path.relative_to(PIPELINES)
            hidden = any(part.startswith((".", "__pycache__")) for part in inside.parts)
            if path.is_file() and path.suffix in SUFFIXES and not hidden and inside.as_posix() not in AFTERWARDS:
                yield path
