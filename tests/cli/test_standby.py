"""A worker stands by, and takes the place of one that ends; stand-ins for the workers, the real parent."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from benchmarks.swaps.versions import WIDTH, Versions
from server.processes import EXIT_REFUSED
from tests.behaviour.worker_process import LISTENERS, ROOT
from tests.cli.test_parent import Server, alive, wait_until
from tests.worker.operated import OperatedWorker, asked, predict

SOON = {"STAND_IN_STANDBY_S": "0"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def make(manners: dict[str, str] | None = None, **server: Any) -> Server:
        started.append(Server(tmp_path, SOON | (manners or {}), **server))
        return started[-1]

    yield make
    for server in started:
        server.clean_up()


def standby_of(server: Server) -> int:
    """The pid of whoever began as one last; 0 where nobody did."""
    found = 0
    for child in sorted(psutil.Process(server.process.pid).children(), key=psutil.Process.create_time):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "--standby" in child.cmdline() and alive(child.pid):
                server.children.add(child.pid)
                found = child.pid
    return found


def stands_by(server: Server) -> int:
    """Its pid, once it has said that it is ready."""
    wait_until(lambda: "stand-in: stands by" in server.log.read_text())
    return standby_of(server)


def nicenesses(pid: int) -> set[int]:
    """Of its threads."""
    found = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            found.add(os.getpriority(os.PRIO_PROCESS, int(thread.name)))
    return found


def pids(server: Server, ready: dict[str, Any]) -> list[int]:
    workers = server.health(ready)["workers"]
    return [worker["pid"] for worker in workers if worker["state"] == "ready"]


def successor_of(server: Server, ready: dict[str, Any], worker: int) -> int:
    """The pid of whoever serves in the place of a worker that is killed."""
    found = 0

    def is_there() -> bool:
        nonlocal found
        workers = server.health(ready)["workers"]
        if len(workers) <= worker or (workers[worker]["generation"], workers[worker]["state"]) != (2, "ready"):
            return False
        found = workers[worker]["pid"]
        server.children.add(found)
        return True

    os.kill(ready["workers"][worker], signal.SIGKILL)
    wait_until(is_there)
    return found


def test_it_takes_the_place_of_a_worker_that_ends_and_another_stands_by(start: Callable[..., Server]) -> None:
    server = start()
    ready = server.wait_ready()
    first = stands_by(server)
    assert successor_of(server, ready, 0) == first
    assert pids(server, ready) == [first, ready["workers"][1]]
    wait_until(lambda: standby_of(server) not in (0, first))
    assert server.stop() == 0
    assert not any(alive(pid) for pid in server.children), "nor does the standby stay"
    assert "no worker stands by" not in server.log.read_text()


def test_one_that_is_not_ready_yet_is_not_waited_for(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_UNREADY": "1"})
    ready = server.wait_ready()
    wait_until(lambda: standby_of(server))
    standing_by = standby_of(server)
    assert successor_of(server, ready, 1) != standing_by
    assert standby_of(server) == standing_by, "it will do for the next"


def test_one_that_ends_is_replaced_and_costs_no_worker(start: Callable[..., Server]) -> None:
    server = start()
    ready = server.wait_ready()
    wait_until(lambda: standby_of(server))
    first = standby_of(server)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: standby_of(server) not in (0, first))
    assert "no worker stands by" in server.log.read_text()
    assert pids(server, ready) == ready["workers"]


def is_refused(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_one_that_is_never_ready_makes_room_for_another(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_UNREADY": "1", "STAND_IN_READY_WITHIN_S": "0.5"})
    ready = server.wait_ready()
    wait_until(lambda: standby_of(server))
    first = standby_of(server)
    wait_until(lambda: standby_of(server) not in (0, first))
    assert "not ready within 0.5 s" in server.log.read_text()
    assert pids(server, ready) == ready["workers"]


def test_one_that_has_ended_holds_up_no_start_and_no_stop_by_being_reaped(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_REAPED_AFTER_S": "600"})
    ready = server.wait_ready()
    first = stands_by(server)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: standby_of(server) not in (0, first))
    assert psutil.Process(first).status() == psutil.STATUS_ZOMBIE
    assert pids(server, ready) == ready["workers"]
    assert server.stop() == 0


def test_where_memory_runs_out_it_is_ended_first() -> None:
    program = (
        "from server.worker.__main__ import OOM_SCORE, _ended_first_for_memory as first\n"
        "print(OOM_SCORE.read_text())\nwith first(): print(OOM_SCORE.read_text())\nprint(OOM_SCORE.read_text())"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    before, meanwhile, afterwards = found.stdout.split()
    assert (meanwhile, afterwards) == ("1000", before)


def test_it_keeps_no_port_open_while_the_workers_drain(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_DRAIN_S": "2", "STAND_IN_CLOSES": "1"})
    ready = server.wait_ready()
    stands_by(server)
    host, _, port = ready["listen"].rpartition(":")
    socket.create_connection((host, int(port)), 5).close()
    server.process.terminate()
    wait_until(lambda: "draining" in {worker["state"] for worker in server.health(ready)["workers"]})
    wait_until(lambda: is_refused(host, int(port)))
    assert server.process.poll() is None, "it drains yet"
    assert server.process.wait(60) == 0


def test_where_it_is_not_wanted_there_is_none(start: Callable[..., Server]) -> None:
    server = start(standby=False)
    ready = server.wait_ready()
    successor_of(server, ready, 0)
    assert standby_of(server) == 0


def test_a_real_one_is_no_nicer_than_others_once_it_is_ready(tmp_path: Path) -> None:
    told, tells = os.pipe()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "server.worker", "--standby", str(tells), LISTENERS[-1]],
            stdin=subprocess.PIPE,
            stderr=log,
            pass_fds=(tells,),
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    os.close(tells)
    try:
        assert os.read(told, 1) == b"\n"
        # Nor is any thread that its imports began; the one that imported takes a moment to be gone.
        wait_until(lambda: nicenesses(process.pid) == {os.getpriority(os.PRIO_PROCESS, 0)})
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == EXIT_REFUSED, "it was told nothing"
        assert "Workers are started by `roost serve`" in (tmp_path / "log").read_text()
    finally:
        os.close(told)
        process.kill()
        process.wait()


class Importing(OperatedWorker):
    """Its log tells what it imports."""

    program = ("-X", "importtime", "-m", "server.worker")


def test_a_real_one_has_imported_all_that_a_worker_does(tmp_path: Path) -> None:
    listener = LISTENERS[-1]
    versions = Versions(tmp_path)
    versions.push_scaled(1)
    with Importing(listener, versions, tmp_path) as worker, worker.channel() as channel:
        predict(channel)(asked(np.ones((1, WIDTH), np.float32)), timeout=30)
        log = worker.log.read_text()
    program = f"from server.worker.__main__ import _import_all as i; i({listener!r}); import sys; print(*sys.modules)"
    standing_by = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        check=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ).stdout.split()
    imported = {line.rpartition("|")[2].strip() for line in log.splitlines() if line.startswith("import time:")}
    ours = {name for name in imported if name.partition(".")[0] in ("native", "server", "registry_client", "uvloop")}
    assert len(ours) > 100
    assert sorted(ours - {*standing_by, "server.worker.__main__"}) == []
