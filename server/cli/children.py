"""Child processes: started with a specification on standard input, gone when the parent is gone, reaped with patience.

Used by the parent only, which has no threads: so that code between fork and exec is safe.
Always: a child dies with the parent (SIGKILL), takes no signal of the terminal, and blocks none.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel

import server

PR_SET_PDEATHSIG: Final = 1

# -P: `python -m` would put the current folder first in the path, and a folder called `server` is no rare thing.
PYTHON: Final = (sys.executable, "-P")
WORKER_COMMAND: Final = (*PYTHON, "-m", "server.worker")
CONTROL_COMMAND: Final = (*PYTHON, "-m", "server.control")
WARM_COMMAND: Final = (*PYTHON, "-m", "server.cli.warm")

REAPED_AFTER_NS: Final = 2_000_000_000


class Child(subprocess.Popen[bytes]):
    """One child process."""

    def exit_code(self) -> int | None:
        """As `returncode`; None while it runs. Leaves it to be reaped by `poll` or `wait`."""
        if self.returncode is not None:
            return self.returncode
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


class Reaper:
    """Children that ended or were killed. They stay zombies for a while: no successor waits for one to be reaped.

    To reap a process, Linux drops what is known of it in /proc, and goes round and round until each of its threads has
    done the same. One of little priority is not let by on a core that this keeps busy: Linux 6.18 with autogroups did
    so for minutes, and nobody looked after the workers meanwhile. Two seconds later they have had their turn.
    """

    def __init__(self) -> None:
        self._ended: list[tuple[int, Child]] = []  # when each is to be reaped

    def put(self, child: Child) -> None:
        self._ended.append((time.monotonic_ns() + REAPED_AFTER_NS, child))

    def reap_due(self) -> None:
        """Waits for none: one that was killed may take its time to end."""
        now_ns = time.monotonic_ns()
        due = [one for one in self._ended if one[0] <= now_ns and one[1].exit_code() is not None]
        self._ended = [one for one in self._ended if one not in due]
        for _, child in due:
            child.wait()

    def reap_all(self) -> None:
        for _, child in self._ended:
            child.wait()
        self._ended.clear()


def start_child(command: Sequence[str], spec: BaseModel | None, descriptors: Sequence[int]) -> Child:
    """Starts `command` and hands it `spec` as JSON. Only `descriptors` and the standard streams are inherited."""
    child = begin_child(command, descriptors)
    tell_child(child, spec)
    return child


def begin_child(command: Sequence[str], descriptors: Sequence[int]) -> Child:
    """Starts `command`, which waits for `tell_child`."""
    return Child(
        command,
        stdin=subprocess.PIPE,
        pass_fds=tuple(descriptors),
        process_group=0,  # the terminal's Ctrl-C is for the parent, which drains
        preexec_fn=_die_with(os.getpid()),
        env=_environment(),
    )


def tell_child(child: Child, spec: BaseModel | None) -> None:
    """Hands `spec` over as JSON. A child that has ended is told nothing: its exit code says why."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
        if spec is not None:
            pipe.write(spec.model_dump_json().encode())


def _die_with(parent_pid: int) -> Callable[[], None]:
    """Runs in the child before exec. The parent may end before prctl takes hold: then the child ends by itself."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_pid:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    return prepare


def _environment() -> dict[str, str]:
    """This process's environment, with the folder that holds `server` in the path, installed or not."""
    assert server.__file__ is not None
    root = str(Path(server.__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([root, inherited] if inherited else [root])}
