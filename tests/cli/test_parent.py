"""The parent with real processes: the real control, and a stand-in for the worker that only reports and obeys."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from server.cli import children
from server.cli.children import begin_child, tell_child

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("stand_in_parent.py")
LIMIT_S = 60.0


class Server:
    """`roost serve` with the stand-in worker, in a folder of its own."""

    def __init__(self, folder: Path, manners: dict[str, str] | None = None, **server: Any) -> None:
        self.ready_file = folder / "ready.json"
        self.log = folder / "log"
        anywhere = dict.fromkeys(("listen", "http", "admin"), "127.0.0.1:0")
        settings = {
            "server": anywhere | {"ready_file": str(self.ready_file), "workers": 2, "listener": "fast"} | server
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM)],
                stdin=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | (manners or {}),
                cwd=folder,
            )
        assert self.process.stdin is not None
        with self.process.stdin as pipe:
            pipe.write(json.dumps(settings).encode())
        self.children: set[int] = set()

    def wait_ready(self) -> dict[str, Any]:
        wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        ready: dict[str, Any] = json.loads(self.ready_file.read_text())
        self.children = {ready["control"], *ready["workers"]}
        return ready

    def health(self, ready: dict[str, Any]) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://{ready['http']}/health/ready", timeout=30) as answer:
                body: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            body = json.load(error)
        except OSError:
            body = {"ready": False, "workers": []}
        return body

    def metric(self, ready: dict[str, Any], line_start: str) -> float:
        with urllib.request.urlopen(f"http://{ready['http']}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line for line in lines if line.startswith(line_start)).rpartition(" ")[2])

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(LIMIT_S)

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        wait_until(lambda: not any(psutil.pid_exists(pid) for pid in self.children))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def make(manners: dict[str, str] | None = None, **server: Any) -> Server:
        started.append(Server(tmp_path, manners, **server))
        return started[-1]

    yield make
    for server in started:
        server.clean_up()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that leave it as they found it, since every start costs seconds."""
    server = Server(tmp_path_factory.mktemp("standing"))
    yield server
    server.clean_up()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_once_all_is_ready_the_ready_file_names_real_addresses(standing: Server) -> None:
    server = standing
    ready = server.wait_ready()
    assert ready["pid"] == server.process.pid
    assert len(ready["workers"]) == 2
    assert all(alive(pid) for pid in (ready["control"], *ready["workers"]))
    health = server.health(ready)
    assert health["ready"]
    assert [worker["pid"] for worker in health["workers"]] == ready["workers"]


def test_a_child_inherits_the_descriptors_it_was_given_and_no_others(standing: Server) -> None:
    server = standing
    ready = server.wait_ready()
    targets = [os.readlink(entry) for entry in Path(f"/proc/{ready['workers'][0]}/fd").iterdir() if entry.exists()]
    assert sum(target.startswith("socket:") for target in targets) == 1, "the listening socket"
    assert sum("roost-plane" in target for target in targets) == 2, "the plane, and the mapping's own copy"
    streams = {os.readlink(f"/proc/{ready['workers'][0]}/fd/{number}") for number in (0, 1, 2)}
    rest = [target for target in targets if "roost-plane" not in target and not target.startswith("socket:")]
    assert set(rest) <= streams


def test_sigterm_drains_and_ends_with_exit_code_0(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_DRAIN_S": "1"})
    ready = server.wait_ready()
    server.process.terminate()
    wait_until(lambda: "draining" in {worker["state"] for worker in server.health(ready)["workers"]})
    assert not server.health(ready)["ready"], "health says so while calls in flight still end"
    assert server.process.wait(LIMIT_S) == 0
    assert not any(alive(pid) for pid in server.children)
    assert not server.ready_file.exists()
    assert "killed" not in server.log.read_text()


def test_a_worker_that_does_not_stop_is_killed_after_the_drain(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_DEAF": "1"}, drain_timeout_s=0.2)
    server.wait_ready()
    before = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - before < 15
    assert server.log.read_text().count("killed: it did not stop in time") == 2
    assert not any(alive(pid) for pid in server.children)


def test_a_second_signal_does_not_wait_for_the_drain(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_DEAF": "1"}, drain_timeout_s=600)
    server.wait_ready()
    server.process.send_signal(signal.SIGINT)
    wait_until(lambda: "stopping" in server.log.read_text())
    time.sleep(0.3)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(LIMIT_S) == 0


def test_killing_control_stops_no_worker_and_it_comes_back_on_the_same_ports(standing: Server) -> None:
    server = standing
    ready = server.wait_ready()
    pids = [worker["pid"] for worker in server.health(ready)["workers"]]
    os.kill(ready["control"], signal.SIGKILL)
    wait_until(lambda: server.health(ready)["ready"])
    wait_until(lambda: server.metric(ready, "roost_control_restarts_total") == 1)
    assert [worker["pid"] for worker in server.health(ready)["workers"]] == pids


def test_a_crashed_worker_is_started_again_while_the_other_serves(standing: Server) -> None:
    server = standing
    ready = server.wait_ready()
    counted = server.metric(ready, 'roost_requests_total{method="predict",status="OK"}')
    os.kill(ready["workers"][0], signal.SIGKILL)

    def came_back() -> bool:
        workers = server.health(ready)["workers"]
        assert workers[1]["pid"] == ready["workers"][1]
        assert workers[1]["state"] == "ready"
        return workers[0]["state"] == "ready" and workers[0]["generation"] == 2

    wait_until(came_back)
    assert server.metric(ready, 'roost_worker_restarts_total{worker="0"}') == 1
    assert server.metric(ready, 'roost_worker_restarts_total{worker="1"}') == 0
    assert server.metric(ready, 'roost_requests_total{method="predict",status="OK"}') >= counted
    server.children.add(server.health(ready)["workers"][0]["pid"])


def successor(server: Server, ready: dict[str, Any]) -> int:
    """The pid of whoever serves in the first worker's place, once somebody does."""

    def is_there() -> bool:
        first = server.health(ready)["workers"][0]
        return bool(first["state"] == "ready" and first["generation"] == 2)

    wait_until(is_there)
    pid = int(server.health(ready)["workers"][0]["pid"])
    server.children.add(pid)
    return pid


def test_whoever_takes_a_place_waits_for_no_one_to_be_reaped(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_REAPED_AFTER_S": "600"})
    ready = server.wait_ready()
    ended = ready["workers"][0]
    os.kill(ended, signal.SIGKILL)
    assert successor(server, ready) != ended
    assert psutil.Process(ended).status() == psutil.STATUS_ZOMBIE
    assert server.stop() == 0


def test_what_has_ended_is_reaped_in_time(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_REAPED_AFTER_S": "0"})
    ready = server.wait_ready()
    os.kill(ready["workers"][0], signal.SIGKILL)
    successor(server, ready)
    wait_until(lambda: not psutil.pid_exists(ready["workers"][0]))


def test_a_child_that_does_not_end_yet_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "REAPED_AFTER_NS", 0)
    reaper, child = children.Reaper(), begin_child(("/bin/sh", "-c", "read go"), ())
    reaper.put(child)
    reaper.reap_due()
    assert child.returncode is None
    tell_child(child, None)
    wait_until(lambda: child.exit_code() is not None)
    reaper.reap_due()
    assert not psutil.pid_exists(child.pid)


@pytest.mark.parametrize(("program", "code"), [("exit 3", 3), ("exit 0", 0), ("kill -9 $$", -9), ("kill $$", -15)])
def test_how_a_child_ended_is_told_as_often_as_asked_before_it_is_reaped(program: str, code: int) -> None:
    child = begin_child(("/bin/sh", "-c", f"read go; {program}"), ())
    try:
        assert child.exit_code() is None, "it waits"
        tell_child(child, None)
        wait_until(lambda: child.exit_code() is not None)
        assert child.exit_code() == code
        assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    finally:
        child.kill()
        assert child.wait() == code == child.exit_code()


def test_whoever_starts_it_may_ignore_that_children_end(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_IGNORES": "SIGCHLD"})
    ready = server.wait_ready()
    os.kill(ready["workers"][0], signal.SIGKILL)
    successor(server, ready)
    assert "ended unasked and is started again" in server.log.read_text()
    assert server.stop() == 0


def test_a_refused_model_stops_the_whole_start_and_its_message_is_passed_on(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_EXIT": "78"})
    assert server.process.wait(LIMIT_S) == 78
    log = server.log.read_text()
    assert "stand-in: the model was refused" in log
    assert "the start is given up" in log
    assert not server.ready_file.exists()


def test_a_worker_that_never_comes_up_ends_the_start(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_EXIT": "1"})
    assert server.process.wait(LIMIT_S) == 1
    assert "it keeps failing" in server.log.read_text()


def test_kernels_are_compiled_before_any_child_is_started(start: Callable[..., Server], tmp_path: Path) -> None:
    program = "import os, psutil; assert len(psutil.Process(os.getppid()).children()) == 1; open('warmed', 'w')"
    server = start({"STAND_IN_WARM": program}, listener="grpcio")
    server.wait_ready()
    assert (tmp_path / "warmed").exists()


def test_kernels_that_do_not_compile_end_the_start(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_WARM": "import sys; sys.exit('cannot compile')"})
    assert server.process.wait(LIMIT_S) == 1
    log = server.log.read_text()
    assert "cannot compile" in log
    assert "run `roost warm` to see why" in log


def test_a_stop_does_not_wait_for_the_compilation(start: Callable[..., Server]) -> None:
    server = start({"STAND_IN_WARM": "import time; time.sleep(600)"})
    wait_until(lambda: "compiling kernels" in server.log.read_text())
    used = psutil.Process(server.process.pid).cpu_times()
    time.sleep(0.5)
    later = psutil.Process(server.process.pid).cpu_times()
    assert later.user - used.user < 0.2, "the parent waits, it does not spin"
    assert server.stop() == 0


def test_children_die_with_a_parent_that_is_killed(start: Callable[..., Server]) -> None:
    server = start()
    server.wait_ready()
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in server.children))


def test_a_port_that_is_taken_ends_the_start_with_exit_code_2(start: Callable[..., Server]) -> None:
    from server.cli.sockets import listening_socket, port_of

    with listening_socket("x", "127.0.0.1:0") as other:
        server = start(http=f"127.0.0.1:{port_of(other)}")
        assert server.process.wait(LIMIT_S) == 2
    assert "server.http: expected a free port" in server.log.read_text()


def test_of_two_parents_only_one_gets_a_port_that_nobody_listens_on_yet(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    """With grpcio the workers listen, which the stand-ins never do: a start that is still loading its models."""
    address = start(listener="grpcio").wait_ready()["listen"]
    (folder := tmp_path / "second").mkdir()
    second = Server(folder, listener="grpcio", listen=address)
    try:
        assert second.process.wait(LIMIT_S) == 2
        assert f"server.listen: expected a free port, got '{address}'" in second.log.read_text()
    finally:
        second.clean_up()
