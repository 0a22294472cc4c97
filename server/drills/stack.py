"""A server of a drill's own: `roost serve` as people start it, on free ports of loopback, in a folder of its own.

Used by the incidents. Always: the environment's settings of Roost reach neither the server nor the commands, so that a
drill posts to nobody's webhooks and asks nobody's server; what was started here is stopped here, by its own pid.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

import server
from native.cache import KERNEL_CACHE_VARIABLE
from native.library import LIBRARY_VARIABLE
from native.ort.library import API_VARIABLE
from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from server.addresses import split_address
from server.drills.model import NAME

# -P: not whatever folder called `server` lies where the drill is run.
ROOST: Final = (sys.executable, "-P", "-m", "server.cli")
OPERATOR: Final = "drill"
ANYWHERE: Final = "127.0.0.1:0"
LOG: Final = "server.log"
LOG_CHARACTERS_SHOWN: Final = 2000
START_S_MAX: Final = 240.0  # kernels are compiled at the very first start
STOP_S_MAX: Final = 20.0
ANSWER_S_MAX: Final = 10.0
POLL_S: Final = 0.05
KEPT_VARIABLES: Final = frozenset({KERNEL_CACHE_VARIABLE, LIBRARY_VARIABLE, API_VARIABLE})
"""How the server is built on this machine, not what it serves."""
COLOUR_VARIABLES: Final = frozenset({"FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"})


Settings = Mapping[str, Mapping[str, Any]]
"""Keys by section."""


class StackFailed(RuntimeError):
    """What the server did not do, in one line, and the end of its log."""


@dataclass(frozen=True)
class Stack:
    """A running server. ready: its ready file. environment: of commands that are to ask it."""

    folder: Path
    ready: Mapping[str, Any]
    ready_file: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]
    admin: Any

    def state(self) -> admin_pb2.ModelState:
        """Of the drill's model. Waits where the control process is being started."""
        request = admin_pb2.DescribeModelRequest(model=NAME)
        reply: admin_pb2.DescribeModelReply = self.admin.DescribeModel(
            request, timeout=START_S_MAX, wait_for_ready=True
        )
        return reply.model

    def drift(self) -> admin_pb2.GetDriftReply:
        reply: admin_pb2.GetDriftReply = self.admin.GetDrift(
            admin_pb2.GetDriftRequest(model=NAME), timeout=ANSWER_S_MAX, wait_for_ready=True
        )
        return reply

    def journal(self) -> list[dict[str, Any]]:
        """The entries, oldest first."""
        reply = self.admin.GetJournal(
            admin_pb2.GetJournalRequest(model=NAME, limit=1000), timeout=ANSWER_S_MAX, wait_for_ready=True
        )
        documents = [json.loads(entry.line) for entry in reply.entries]
        return [document.get("entry", document) for document in documents]

    def kill_control(self) -> None:
        """For good: its parent is stopped first, or it would start another one at once; see `let_control_come`."""
        self.process.send_signal(signal.SIGSTOP)
        control = int(self.ready["control"])
        if _parent_of(control) == self.process.pid:  # else another was started since, and the number may be anybody's
            os.kill(control, signal.SIGKILL)
        until(lambda: not _listens(self.ready["admin"]), "the control process is gone", ANSWER_S_MAX)

    def let_control_come(self) -> None:
        """The parent runs again, and starts a control process."""
        self.process.send_signal(signal.SIGCONT)
        until(lambda: _listens(self.ready["admin"]), "another control process answers", START_S_MAX)


def _parent_of(pid: int) -> int:
    """0 where there is no such process any more."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@contextmanager
def local_stack(folder: Path, registry: Path, settings: Settings) -> Iterator[Stack]:
    """Serves the drill's model from `registry` until it is left. Raises StackFailed."""
    config, ready_file, log = folder / "roost.toml", folder / "ready.json", folder / LOG
    config.write_text(_toml({"registry": {"cache": str(folder / "cache")}, **settings}), encoding="utf-8")
    command = [*ROOST, "serve", "--config", str(config), "--registry", str(registry), "--model", f"{NAME}@stable"]
    command += ["--state", str(folder / "state"), "--ready-file", str(ready_file)]
    command += ["--listen", ANYWHERE, "--http", ANYWHERE, "--admin", ANYWHERE]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,  # the terminal's Ctrl-C is for the drill, which stops it
        )
    try:
        ready = _wait_until_ready(process, ready_file, log)
        with grpc.insecure_channel(ready["admin"], [("grpc.enable_http_proxy", 0)]) as channel:
            stub = admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]
            yield Stack(folder, ready, ready_file, environment(ready["admin"]), process, stub)
    finally:
        _stop(process)


def environment(admin: str = "") -> dict[str, str]:
    """This process's, without what it says of Roost's settings and of colours. admin: whom commands ask."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in COLOUR_VARIABLES and (not name.upper().startswith("ROOST_") or name in KEPT_VARIABLES)
    }
    assert server.__file__ is not None
    paths = [str(Path(server.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
    kept |= {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "NO_COLOR": "1"}
    return kept | ({"ROOST_ADMIN": admin, "ROOST_OPERATOR": OPERATOR} if admin else {})


def until(condition: Callable[[], bool], what: str, limit_s: float) -> None:
    """Raises StackFailed where it does not come true."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise StackFailed(f"not within {limit_s:g} s: {what}.")
        time.sleep(POLL_S)


def _wait_until_ready(process: subprocess.Popen[bytes], ready_file: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_S_MAX
    while not ready_file.exists():
        if process.poll() is not None:
            raise StackFailed(f"the drill's server ended with code {process.returncode} at its start:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise StackFailed(f"the drill's server was not ready within {START_S_MAX:g} s:\n{_tail(log)}")
        time.sleep(POLL_S)
    ready: dict[str, Any] = json.loads(ready_file.read_text(encoding="utf-8"))
    return ready


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)  # where the drill was left while it was stopped
    process.terminate()
    try:
        process.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listens(address: str) -> bool:
    try:
        socket.create_connection(split_address(address), timeout=1.0).close()
    except OSError:
        return False
    return True


def _toml(sections: Settings) -> str:
    """Sections of plain values: JSON writes texts, numbers and booleans as TOML has them."""
    return "".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in content.items())
        for name, content in sections.items()
    )


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-LOG_CHARACTERS_SHOWN:]
