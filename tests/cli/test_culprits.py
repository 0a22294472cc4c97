"""What the parent notes of a worker that died in the middle of a run, in the plane that it keeps."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from native.plane.layout import HEADER_CRASH_GENERATION, HEADER_CRASH_SEAT, HEADER_CRASHES, Plane
from native.plane.routes import Route, RouteTables, SeatRef
from native.plane.routing import (
    BANNED,
    RUNNING_MAIN,
    RUNNING_MAIN_GENERATION,
    RUNNING_TRIAL,
    RUNNING_TRIAL_GENERATION,
    SEATS_MAX,
)
from tests.cli.test_parent import Server, wait_until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def make(manners: dict[str, str] | None = None, **server: Any) -> Server:
        started.append(Server(tmp_path, manners, **server))
        return started[-1]

    yield make
    for server in started:
        server.clean_up()


def plane_of(pid: int) -> Plane:
    """The plane of a running parent, by its descriptor."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if "roost-plane" in os.readlink(entry):
            return Plane.attach(os.open(entry, os.O_RDWR))
    raise AssertionError("the parent has no plane")


def crashed(server: Server, ready: dict[str, Any], number: signal.Signals, **running: int) -> Plane:
    plane = plane_of(server.process.pid)
    for word, value in running.items():
        plane.block(0).routing[WORDS[word]] = value
    os.kill(ready["workers"][0], number)
    wait_until(lambda: plane.block(0).header[HEADER_CRASHES] == 1)
    wait_until(lambda: server.health(ready)["ready"])
    server.children.update(worker["pid"] for worker in server.health(ready)["workers"])
    return plane


WORDS = {
    "main": RUNNING_MAIN,
    "main_generation": RUNNING_MAIN_GENERATION,
    "trial": RUNNING_TRIAL,
    "trial_generation": RUNNING_TRIAL_GENERATION,
}


def test_an_artifact_whose_trial_run_crashed_a_worker_is_banned(start: Callable[..., Server]) -> None:
    server = start()
    running = {"main": 1, "main_generation": 1, "trial": 6, "trial_generation": 3}
    plane = crashed(server, server.wait_ready(), signal.SIGSEGV, **running)
    assert plane.block(0).header[HEADER_CRASH_SEAT] == 6
    assert plane.block(0).header[HEADER_CRASH_GENERATION] == 3
    bans = plane.routing[BANNED : BANNED + SEATS_MAX].tolist()
    assert {seat: generation for seat, generation in enumerate(bans) if generation} == {5: 3}
    wait_until(lambda: plane.block(0).routing[RUNNING_TRIAL] == 0)  # the next worker begins with nothing running


def test_a_stable_that_crashed_a_worker_is_named_and_not_banned(start: Callable[..., Server]) -> None:
    server = start()
    ready = server.wait_ready()
    serving = plane_of(server.process.pid)
    RouteTables(serving).publish([Route(1, SeatRef(2, 2))])
    plane = crashed(server, ready, signal.SIGSEGV, main=3, main_generation=2, trial=3, trial_generation=2)
    assert plane.block(0).header[HEADER_CRASH_SEAT] == 3
    assert not plane.routing[BANNED : BANNED + SEATS_MAX].any(), "promoted while its last trial ran"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_somebody_killed_says_nothing_of_what_it_ran(
    start: Callable[..., Server], number: signal.Signals
) -> None:
    server = start()
    ready = server.wait_ready()
    plane = plane_of(server.process.pid)
    plane.block(0).routing[RUNNING_TRIAL] = 6
    plane.block(0).routing[RUNNING_TRIAL_GENERATION] = 3
    os.kill(ready["workers"][0], number)
    wait_until(lambda: [worker["generation"] for worker in server.health(ready)["workers"]] == [2, 1])
    server.children.update(worker["pid"] for worker in server.health(ready)["workers"])
    assert plane.block(0).header[HEADER_CRASHES] == 0
    assert not plane.routing[BANNED : BANNED + SEATS_MAX].any()


def test_an_artifact_in_whose_trial_runs_workers_are_killed_twice_is_banned(start: Callable[..., Server]) -> None:
    """As the system does for want of memory: each time before anybody has seen how much it takes."""
    server = start()
    ready = server.wait_ready()
    plane = plane_of(server.process.pid)

    def killed_in(worker: int, trial: int, generation: int) -> None:
        block = plane.block(worker)
        block.routing[RUNNING_TRIAL], block.routing[RUNNING_TRIAL_GENERATION] = trial, generation
        pids = [one["pid"] for one in server.health(ready)["workers"]]
        os.kill(pids[worker], signal.SIGKILL)
        wait_until(lambda: server.health(ready)["workers"][worker]["pid"] not in (0, pids[worker]))
        wait_until(lambda: server.health(ready)["ready"])
        server.children.update(one["pid"] for one in server.health(ready)["workers"])

    killed_in(0, trial=6, generation=3)
    killed_in(1, trial=6, generation=4)
    assert not plane.routing[BANNED : BANNED + SEATS_MAX].any(), "another artifact in the same seat"
    killed_in(0, trial=6, generation=4)
    bans = plane.routing[BANNED : BANNED + SEATS_MAX].tolist()
    assert {seat: generation for seat, generation in enumerate(bans) if generation} == {5: 4}
    assert plane.block(0).header[HEADER_CRASH_SEAT] == 6


@pytest.mark.parametrize("seat", [0, SEATS_MAX + 1, -5, 2**62])
def test_a_worker_that_died_with_nothing_running_bans_nothing(start: Callable[..., Server], seat: int) -> None:
    server = start()
    plane = crashed(server, server.wait_ready(), signal.SIGSEGV, trial=seat, trial_generation=1)
    assert plane.block(0).header[HEADER_CRASH_SEAT] == 0
    assert not plane.routing[BANNED : BANNED + SEATS_MAX].any()


def test_a_worker_that_gave_a_hung_run_up_is_replaced_without_the_artifact(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_HANGS_IN": "5"})
    ready = server.wait_ready()
    plane = plane_of(server.process.pid)
    os.kill(ready["workers"][1], signal.SIGUSR1)
    wait_until(lambda: plane.block(1).header[HEADER_CRASHES] == 1)
    assert plane.routing[BANNED + 5] == 1
    wait_until(lambda: server.health(ready)["ready"])
    server.children.update(worker["pid"] for worker in server.health(ready)["workers"])
