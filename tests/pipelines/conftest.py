"""The pinned wheel, fetched once and kept where `make serve` keeps it; and one small trained model."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.employment.features import Examples, examples
from pipelines.employment.snapshot import Snapshot, fetch_wheel, read_snapshot

DATA = Path(__file__).parents[2] / ".roost" / "data"
ROWS = 2000


@pytest.fixture(scope="session")
def wheel() -> Path:
    return fetch_wheel(DATA)


@pytest.fixture(scope="session")
def snapshot(wheel: Path) -> Snapshot:
    return read_snapshot(wheel, ROWS)


@pytest.fixture(scope="session")
def reference(snapshot: Snapshot) -> Examples:
    return examples(snapshot.reference)


@pytest.fixture(scope="session")
def evaluation(snapshot: Snapshot) -> Examples:
    return examples(snapshot.evaluation)
