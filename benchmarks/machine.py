"""The machine that a run was made on, and which core does what.

Used by runs and their pages. Always: nothing here names a host, a user or a path, so that a page can be published.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from native.library import find_library

SERVER_CORE, LOAD_CORE = 0, 1
CORES_MIN = 2


@dataclass(frozen=True)
class Machine:
    """What a reader needs to know to compare with another run."""

    cpu: str
    cores: int
    kernel: str
    python: str
    numba: str
    onnxruntime: str
    grpcio: str
    libnghttp2: str
    h2load: str

    @classmethod
    def here(cls) -> Machine:
        library = find_library()
        return cls(
            cpu=_cpu_model(),
            cores=os.cpu_count() or 1,
            kernel=platform.release().split("-")[0],
            python=platform.python_version(),
            numba=version("numba"),
            onnxruntime=version("onnxruntime"),
            grpcio=version("grpcio"),
            libnghttp2="none" if library is None else library.version,
            h2load=_first_line(["h2load", "--version"]),
        )

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def what_is_missing() -> str | None:
    """One line that says what a run lacks here and how to get it, or None."""
    for program, package in (("h2load", "nghttp2-client"), ("nghttpd", "nghttp2-server"), ("taskset", "util-linux")):
        if shutil.which(program, path=_PATH) is None:
            return f"bench: {program} is not installed. Debian and Ubuntu: apt-get install {package}"
    if len(os.sched_getaffinity(0)) < CORES_MIN:
        return f"bench: expected {CORES_MIN} cores, one for the server and one for the load; this process may use one."
    return None


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """`command`, and all that it starts, on one core."""
    return ["taskset", "-c", str(core), *command]


@contextmanager
def this_thread_on(core: int) -> Iterator[None]:
    """The calling thread on one core; as before afterwards. Processes that it starts meanwhile inherit the core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# nghttpd is in /usr/sbin, which is not on every user's PATH.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


def program(name: str) -> str:
    """The path of an installed program. Raises FileNotFoundError, naming it."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise FileNotFoundError(f"{name}: not found in {_PATH}.")
    return found


def _cpu_model() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def _first_line(command: Sequence[str]) -> str:
    ended = subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True, timeout=10, check=True)
    return ended.stdout.splitlines()[0]
