"""Real workers with small limits, a neighbour who must not be disturbed, and models to attack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversity.attacked_worker import AttackedWorker, Workers, no_limits, small_limits, wide_model
from tests.behaviour.served_models import write_models


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="100,000 cancels and 10,000 connects instead of a few")


@pytest.fixture(scope="session")
def attacked_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    paths = write_models(tmp_path_factory.mktemp("models"))
    wide = tmp_path_factory.mktemp("wide") / "wide.onnx"
    wide.write_bytes(wide_model())
    return {name: paths[name] for name in ("mlp", "slow", "lookup")} | {"wide": wide}


@pytest.fixture(scope="session")
def attacked_workers(attacked_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Workers by their limits, started when first asked for; each must end with 0."""
    workers = Workers(attacked_models, tmp_path_factory.mktemp("attacked"))
    yield workers
    workers.stop()


@pytest.fixture
def worker(attacked_workers: Workers) -> Iterator[AttackedWorker]:
    """The worker with small limits. Whatever a test does to it, its neighbour is served and nothing stays behind."""
    attacked = attacked_workers.get(**small_limits())
    with attacked.undisturbed():
        yield attacked


@pytest.fixture
def roomy(attacked_workers: Workers) -> Iterator[AttackedWorker]:
    """The worker whose limits are out of reach."""
    attacked = attacked_workers.get(queue_rows_max=65536, **no_limits())
    with attacked.undisturbed():
        yield attacked
