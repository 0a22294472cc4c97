"""A worker is small, and no larger after so many requests. `make soak` does the same with a million."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.machine import what_is_missing
from benchmarks.servers import REPOSITORY
from benchmarks.soak import GROWTH_MAX, RSS_BYTES_MAX, Weighed, employment, perceptron

REQUESTS = 100_000
DEMO_REGISTRY = REPOSITORY / ".roost" / "mlflow.db"

pytestmark = pytest.mark.alone
needs_h2load = pytest.mark.skipif(what_is_missing() is not None, reason=str(what_is_missing()))


@needs_h2load
def test_a_worker_of_the_perceptron_is_small_and_stays_so(tmp_path: Path) -> None:
    found = perceptron(REQUESTS, tmp_path)
    assert found.before_bytes < RSS_BYTES_MAX
    assert found.growth <= GROWTH_MAX


@needs_h2load
@pytest.mark.skipif(not DEMO_REGISTRY.exists(), reason="no employment model here: make demo-model")
def test_a_worker_of_the_employment_model_is_small_and_stays_so(tmp_path: Path) -> None:
    found = employment(REQUESTS, tmp_path, f"sqlite:///{DEMO_REGISTRY}")
    assert found.before_bytes < RSS_BYTES_MAX
    assert found.growth <= GROWTH_MAX


def test_a_worker_that_is_too_large_or_grows_does_not_pass() -> None:
    mib = 2**20
    assert Weighed(1, 200 * mib, 220 * mib).passed
    assert not Weighed(1, 200 * mib, 221 * mib).passed
    assert not Weighed(1, 250 * mib, 250 * mib).passed
