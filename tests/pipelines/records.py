"""A folder for runs of the employment example in which the census's records are there already.

Used by tests that call `roost train` and leave `.roost/` alone but for what was downloaded. `FEW` is what so few rows
need; all gates are as params.yaml has them.
"""

from __future__ import annotations

from pathlib import Path

from pipelines.downloads import fetch_package
from pipelines.employment.source import PACKAGE

ROWS = 2000
# A baseline of so few rows finds large shifts alone; explanations of fewer rows are quicker.
FEW = ("bundle.tau=1", "bundle.explained_rows=10")


def with_records(folder: Path) -> Path:
    """The folder, made; its `data/` has the pinned package, fetched once and kept where `make serve` keeps it."""
    kept = fetch_package(PACKAGE, Path(__file__).parents[2] / ".roost" / "data")
    (folder / "data").mkdir(parents=True)
    (folder / "data" / kept.name).symlink_to(kept)
    return folder


def as_options(*changes: str) -> list[str]:
    """For the command line."""
    return [part for change in changes for part in ("--set", change)]
