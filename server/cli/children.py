"""Starting one child process: specification on standard input, descriptors by number, gone when the parent is gone.

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

Child = subprocess.Popen[bytes]


def start_child(command: Sequence[str], spec: BaseModel | None, descriptors: Sequence[int]) -> Child:
    """Starts `command` and hands it `spec` as JSON. Only `descriptors` and the standard streams are inherited."""
    child = begin_child(command, descriptors)
    tell_child(child, spec)
    return child


def begin_child(command: Sequence[str], descriptors: Sequence[int]) -> Child:
    """Starts `command`, which waits for `tell_child`."""
    return subprocess.Popen(
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
