"""An empty MLflow registry on SQLite for a test: the tables are made once a process, since that takes seconds."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from registry_client.opening import open_registry


def empty_mlflow(folder: Path) -> str:
    """The location of a new registry in `folder`: mlflow.db, and artifacts beside it."""
    (folder / "mlflow.db").write_bytes(_empty_database())
    return f"sqlite:///{folder / 'mlflow.db'}"


@functools.cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        open_registry(f"sqlite:///{path}").names()
        return path.read_bytes()
