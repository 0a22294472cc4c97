"""The server that a version is handed to: one that answers already, else one of our own, for as long as it takes.

Used by `deploying.py`. Always: a server that was started here is ended here, by its own pid; one whose starter was
killed is found again by its ready file, with its rollout, and ended by who found it. Never imported: a server is a
process, whose settings are the environment's and `--config`'s, as for `roost serve`.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.deploy.admin_calls import is_roost
from pipelines.deploy.options import Options
from pipelines.refusal import Refusal
from pipelines.work import Say
from registry_client.names import USUAL_ALIAS
from registry_client.opening import absolute_location
from registry_client.tracking_uri import is_tracking_uri

USUAL_TARGET: Final = "127.0.0.1:8001"
USUAL_ADMIN: Final = "127.0.0.1:8003"
ANYWHERE: Final = "127.0.0.1:0"
REPOSITORY: Final = Path(__file__).parents[2]
# -P: not whatever folder called `server` lies where the pipeline is run.
ROOST: Final = (sys.executable, "-P", "-m", "server.cli")
START_S_MAX: Final = 600.0
"""Kernels are compiled at the very first start: a minute on one core, more where others want it, too."""
STOP_S_MAX: Final = 40.0
POLL_S: Final = 0.05
LOG_CHARACTERS: Final = 2000
LINE_CHARACTERS: Final = 90


@dataclass(frozen=True)
class Server:
    """admin, target: HOST:PORT. problem: why it can't answer any more, "" as far as is known. own: started for this."""

    admin: str
    target: str
    own: bool
    problem: Callable[[], str]


@asynccontextmanager
async def serving(options: Options, name: str, registry: str, folder: Path, say: Say) -> AsyncIterator[Server]:
    """Of the model `name`, following `registry`. folder: of what a server of our own leaves. Raises Refusal."""
    found = await _running(options)
    if found is not None:
        yield found
        return
    folder.mkdir(parents=True, exist_ok=True)
    process = await _adopted(name, folder, say) or await _started(options, name, registry, folder, say)
    try:
        ready = json.loads((folder / READY).read_text(encoding="utf-8"))
        yield Server(ready["admin"], ready["listen"], True, process.problem)
    finally:
        say("ending the server that was started for this")
        await asyncio.shield(asyncio.to_thread(process.stop))


async def _running(options: Options) -> Server | None:
    """The server of the options, or one that answers at the usual ports; None where one is to be started."""
    if options.own_server:
        return None
    admin, target = options.admin or USUAL_ADMIN, options.target or USUAL_TARGET
    if await is_roost(admin):
        return Server(admin, target, False, lambda: "")
    if options.admin is None and options.target is None:
        return None
    raise Refusal(
        "--admin", expected=f"a Roost's admin port at {admin}", got="none that answers",
        hint="Start the server, or name its admin port; with neither --admin nor --target one is started.",
    )  # fmt: skip


# --- One of our own --------------------------------------------------------------------------------------------------
READY: Final = "ready.json"
PID: Final = "server.pid"
LOG: Final = "server.log"
LOCK: Final = "lock"


@dataclass(frozen=True)
class Process:
    """pid: of `roost serve`, the parent of all its processes. child: None where it was somebody's who was killed."""

    pid: int
    folder: Path
    child: subprocess.Popen[bytes] | None = None

    def problem(self) -> str:
        if self.is_alive():
            return ""
        code = "" if self.child is None else f" with code {self.child.returncode}"
        return f"The server ended{code}; {self.folder / LOG} says why."

    def is_alive(self) -> bool:
        if self.child is not None:
            return self.child.poll() is None
        return serves_for(self.pid, self.folder)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL only where that did nothing. Blocks."""
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S_MAX
        while self.is_alive():
            if time.monotonic() > deadline:
                self._send(signal.SIGKILL)
                deadline = time.monotonic() + STOP_S_MAX
            time.sleep(POLL_S)
        (self.folder / PID).unlink(missing_ok=True)
        (self.folder / READY).unlink(missing_ok=True)

    def _send(self, number: signal.Signals) -> None:
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def serves_for(pid: int, folder: Path) -> bool:
    """Whether that process is a server that was started for this folder: a pid may be anybody's by now."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return b"serve" in arguments and str(folder / READY).encode() in arguments and state != "Z"


async def _adopted(name: str, folder: Path, say: Say) -> Process | None:
    """The server of a run that was killed, which may be in the middle of a rollout, or of its start."""
    try:
        process = Process(int((folder / PID).read_text(encoding="ascii")), folder)
    except (OSError, ValueError):
        return None
    if not process.is_alive():
        return None
    say("going on with the server of a run that was killed")
    try:
        await _until_ready(process, name, say)
    except Refusal:
        return None  # it was about to end: another one is started, which says why if it can't
    return process


async def _started(options: Options, name: str, registry: str, folder: Path, say: Say) -> Process:
    (folder / READY).unlink(missing_ok=True)
    with (folder / LOG).open("wb") as log:
        child = subprocess.Popen(
            _command(options, name, folder),
            cwd=folder,
            env=_environment(registry),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,  # the terminal's Ctrl-C is for the pipeline, which ends it
        )
    process = Process(child.pid, folder, child)
    (folder / PID).write_text(f"{child.pid}\n", encoding="ascii")
    await _until_ready(process, name, say)
    return process


def _environment(registry: str) -> dict[str, str]:
    """The registry too: it may hold a password, and arguments show in the list of processes."""
    places = ("ROOST_REGISTRY__PATH", "ROOST_REGISTRY__MLFLOW")
    kept = {key: value for key, value in os.environ.items() if key not in places}
    where = places[is_tracking_uri(registry)]
    return kept | {where: absolute_location(registry), "PYTHONPATH": _python_path(), "NO_COLOR": "1"}


def _command(options: Options, name: str, folder: Path) -> list[str]:
    state = (folder / "state" if options.state is None else options.state).absolute()
    command = [*ROOST, "serve", "--model", f"{name}@{USUAL_ALIAS}"]
    command += ["--state", str(state), "--ready-file", str(folder / READY)]
    command += ["--listen", ANYWHERE, "--http", ANYWHERE, "--admin", ANYWHERE]
    return command + ([] if options.config is None else ["--config", str(options.config.absolute())])


def _python_path() -> str:
    return os.pathsep.join(path for path in (str(REPOSITORY), os.environ.get("PYTHONPATH", "")) if path)


async def _until_ready(process: Process, name: str, say: Say) -> None:
    """Ends it where it does not become ready, or where nobody waits for it any more."""
    began_s = time.monotonic()
    try:
        while not (process.folder / READY).exists():
            waited_s = time.monotonic() - began_s
            log = (process.folder / LOG).read_text(encoding="utf-8", errors="replace")
            if not process.is_alive():
                raise _not_started(process.problem(), log)
            if waited_s > START_S_MAX:
                raise _not_started(f"nothing within {START_S_MAX:g} s", log)
            line = next((line for line in reversed(log.splitlines()) if line.strip()), "")
            say(f"starting a server of {name}@{USUAL_ALIAS}  {waited_s:.0f} s  {line[:LINE_CHARACTERS]}")
            await asyncio.sleep(POLL_S)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(process.stop))
        raise


def _not_started(got: str, log: str) -> Refusal:
    return Refusal(
        "server", expected="it to start", got=got.rstrip("."),
        hint="Its last words are above. Start one yourself with roost serve, and run this again.",
        table=tuple(log[-LOG_CHARACTERS:].splitlines()),
    )  # fmt: skip


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """One deployment of a model at a time from here. Raises Refusal."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal(
                f"deploy {name}", expected="one deployment at a time", got="another that is under way",
                hint="Wait until it has ended; it shows how far it is.",
            ) from None  # fmt: skip
        yield
