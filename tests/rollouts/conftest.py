"""A whole server with two workers, for tests that watch rollouts from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.rollouts.world import World
from benchmarks.swaps.operator import Operator, plane_of, roost
from benchmarks.swaps.versions import Versions, scaled
from tests.behaviour.worker_process import warm_kernels

# Short plans want verdicts from little evidence; a machine that is busy with other tests wants patience elsewhere.
SETTINGS: dict[str, dict[str, Any]] = {
    "judgement": {"look_ms": 50, "cap": 0.01, "age_limit_ms": 1000},
    "trial": {"watchdog_ms": 300, "watchdog_grace_ms": 2000},
    "registry": {"poll_s": 0.5},
    "logs": {"format": "json"},
}
PLAN = ({"weight": 0.2, "minimum_requests": 100}, {"weight": 0.5, "minimum_requests": 200})
RATE = 2000.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    warm_kernels()
    versions = Versions(tmp_path_factory.mktemp("rollouts"))
    versions.push(scaled(1), 1, ("stable",))
    with roost(versions, workers=2, settings=SETTINGS) as server, Operator(server.ready["admin"]) as operator:
        yield World(versions, server, operator, plane_of(server.process.pid))
