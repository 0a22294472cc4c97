"""Readiness: what the plane says is what HTTP says."""

import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from native.plane.layout import HEADER_HEARTBEAT_NS, Plane, WorkerState
from server.control.http import application
from server.control.plane_reader import STALE_AFTER_NS, PlaneReader
from server.control.state_folder import KeptState, StateFolder
from server.lifecycle.state import Artifact, ModelState
from server.processes import ModelPin
from tests.control.driven_server import NAME, settings_of, started_driver

STATES = list(WorkerState)


def answer(plane: Plane, path: str = "/health/ready"):  # type: ignore[no-untyped-def]
    return TestClient(application(PlaneReader(plane), started_driver(plane), "127.0.0.1:8001")).get(path)


@pytest.mark.parametrize("first", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("second", STATES, ids=lambda state: state.name)
def test_it_is_ready_where_a_worker_serves_and_none_drains(first: WorkerState, second: WorkerState) -> None:
    plane = Plane.create(2)
    plane.block(0).enter(first)
    plane.block(1).enter(second)
    states = {first, second}
    ready = WorkerState.READY in states and WorkerState.DRAINING not in states
    got = answer(plane)
    assert got.status_code == (200 if ready else 503)
    assert got.json()["ready"] is ready
    if ready:
        assert got.json()["reasons"] == []
    else:
        (reason,) = got.json()["reasons"]
        assert reason.startswith("a worker drains" if WorkerState.DRAINING in states else "no worker serves")
    assert [worker["state"] for worker in got.json()["workers"]] == [first.name.lower(), second.name.lower()]


@pytest.mark.parametrize(("age_ns", "ready"), [(0, True), (STALE_AFTER_NS // 2, True), (STALE_AFTER_NS * 2, False)])
def test_a_worker_whose_loop_stands_still_does_not_serve(age_ns: int, ready: bool) -> None:
    plane = Plane.create(1)
    plane.block(0).enter(WorkerState.READY)
    plane.block(0).header[HEADER_HEARTBEAT_NS] = time.monotonic_ns() - age_ns
    got = answer(plane).json()
    assert got["ready"] is ready
    assert got["workers"][0]["stuck"] is not ready


def test_a_worker_that_loads_for_long_is_not_called_stuck() -> None:
    plane = Plane.create(1)
    plane.block(0).enter(WorkerState.STARTING)
    plane.block(0).header[HEADER_HEARTBEAT_NS] = time.monotonic_ns() - 2 * STALE_AFTER_NS
    assert answer(plane).json()["workers"][0]["stuck"] is False


def test_it_lives_although_no_worker_serves() -> None:
    assert answer(Plane.create(1), "/health/live").status_code == 200


def test_the_page_links_what_there_is() -> None:
    plane = Plane.create(1)
    page = answer(plane, "/").text
    assert "127.0.0.1:8001" in page
    for path in ("/health/ready", "/health/live", "/metrics"):
        assert f'href="{path}"' in page
        assert answer(plane, path).status_code in (200, 503)


def test_another_path_is_not_found() -> None:
    assert answer(Plane.create(1), "/admin").status_code == 404


def test_a_model_that_nothing_serves_makes_it_not_ready_and_is_named(tmp_path: Path) -> None:
    plane = Plane.create(1)
    plane.block(0).enter(WorkerState.READY)
    settings, pin = settings_of(tmp_path), ModelPin(name=NAME, version="1", digest="a" * 64)
    bad = ModelState(NAME, stable=Artifact("1", "a" * 64), quarantine={"a" * 64: "judged to be worse"})
    StateFolder(settings.lifecycle.state).write_states([KeptState(bad)])
    driver = started_driver(plane, settings, [pin])
    got = TestClient(application(PlaneReader(plane), driver, "127.0.0.1:8001")).get("/health/ready")
    assert got.status_code == 503
    (reason,) = got.json()["reasons"]
    assert "no safe version is left" in reason
    assert "judged to be worse" in reason
