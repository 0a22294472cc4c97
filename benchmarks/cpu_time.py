"""CPU time and memory of a server's processes, as the kernel counts them.

Used around each run of load. Always: a process counts with all that descend from it, so that work which moves from one
process to another can't hide.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

US_PER_TICK = 1_000_000 // os.sysconf("SC_CLK_TCK")

# Fields of /proc/PID/stat after the command's closing parenthesis, counted from 0: proc_pid_stat(5).
_PARENT = 1

# clock_getcpuclockid(3) of another process: user and system time of all its threads, also of those that ended. It
# counts nanoseconds, where utime and stime of /proc/PID/stat count ticks of 10 ms and read 0 after a short run.
_PROCESS_CLOCK = 2


def cpu_us(pid: int) -> float:
    """User and system time of `pid` and of all that descend from it and live, in microseconds.

    Raises ProcessLookupError where `pid` has ended.
    """
    return sum(_clock_us(one) for one in _family(pid, _parents()))


def busy_us(core: int) -> int:
    """Time that `core` has spent on anything at all since the machine started, in microseconds."""
    (fields,) = [
        line.split()[1:] for line in Path("/proc/stat").read_text().splitlines() if line.startswith(f"cpu{core} ")
    ]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) * US_PER_TICK


def rss_bytes(pid: int) -> int:
    """Resident memory of one process in bytes. Raises ProcessLookupError where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmRSS:")), None)  # a zombie has none
    if kilobytes is None:
        raise ProcessLookupError(f"process {pid} has ended")
    return int(kilobytes) * 1024


def descendants(pid: int) -> set[int]:
    """Processes that `pid` started, and those that they started."""
    return _family(pid, _parents()) - {pid}


def _clock_us(pid: int) -> float:
    try:
        return time.clock_gettime_ns((~pid << 3) | _PROCESS_CLOCK) / 1e3
    except OSError as error:
        raise ProcessLookupError(f"pid {pid}: expected a running server, got none. Its log says why.") from error


def _family(pid: int, parents: dict[int, int]) -> set[int]:
    found, edge = {pid}, {pid}
    while edge:
        edge = {one for one, parent in parents.items() if parent in edge} - found
        found |= edge
    return found


def _parents() -> dict[int, int]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended between the listing and the reading
            found[int(folder.name)] = int(line.rpartition(")")[2].split()[_PARENT])
    return found
