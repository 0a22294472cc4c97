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
FORM: Final = ("baseline",)
WRITERS: Final = (
    "bundle.py", "canonical_json.py", "golden.py", "graph_walk.py", "manifest.py", "names.py",
    "onnx_model.py", "reference_run.py", "tensors.py", "weights.py", "zipmap.py",
)  # fmt: skip
"""FORM, WRITERS: rooms and files of registry_client that decide a bundle's bytes; not where it is kept, nor how it is
signed and told."""
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
    registry_client = PIPELINES.parent / "registry_client"
    yield from (PIPELINES / name for name in CONTRACTS)
    yield from (registry_client / name for name in WRITERS)
    rooms = [PIPELINES / room for room in ROOMS] + [registry_client / room for room in FORM]
    for folder in (*rooms, definition.folder):
        yield from (path for path in folder.rglob("*") if _counts(path))


def _counts(path: Path) -> bool:
    inside = path.relative_to(PIPELINES.parent)
    hidden = any(part.startswith((".", "__pycache__")) for part in inside.parts)
    afterwards = path.is_relative_to(PIPELINES) and path.relative_to(PIPELINES).as_posix() in AFTERWARDS
    return path.is_file() and path.suffix in SUFFIXES and not hidden and not afterwards
