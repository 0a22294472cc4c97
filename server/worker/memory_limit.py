"""A limit of a worker's memory while it tries a version: the system refuses at once what goes far beyond it.

Used by the engine. A run that wants gigabytes gets an error in their place, which is its version's. Else nobody could
keep it from filling the machine: one operator can't be interrupted, and each page that is touched for the first time
takes the core from the loop. Who grows slowly is seen by control first, at `resident_bytes_max`; a version that fills
the margin, too, before control has looked can make others' runs fail until it goes. Always: a worker that holds nothing
but stables and what it would go home to has no limit of ours, nor has one that is loading.
"""

from __future__ import annotations

import logging
import resource
from pathlib import Path
from typing import Final

log = logging.getLogger("roost.worker")

PAGE_BYTES: Final = resource.getpagesize()
# For what is reserved and hardly touched, and what control needs to see that there is too much (4 looks a second).
MARGIN_BYTES: Final = 256 << 20
LOOK_NS: Final = 1_000_000_000
RESIDENT, DATA = 1, 5  # pages, by field of /proc/self/statm (proc(5))


class MemoryLimit:
    """This process's. resident_bytes_max: trial.worker_memory_bytes_max."""

    def __init__(self, resident_bytes_max: int) -> None:
        self._resident_bytes_max = resident_bytes_max
        self._usual, self._hard = resource.getrlimit(resource.RLIMIT_DATA)
        self._limited = False
        self._due_ns = 0

    def follow(self, limited: bool, now_ns: int) -> None:
        """limited: whether it is to be, now. It follows what the process has taken since, once in LOOK_NS."""
        if limited and (not self._limited or now_ns >= self._due_ns):
            self._limit(now_ns)
        elif not limited and self._limited:
            self.lift()

    def lift(self) -> None:
        """As it was before."""
        self._limited = False
        self._set(self._usual)

    def _limit(self, now_ns: int) -> None:
        """Of private memory, touched or not: that is what the system counts and refuses."""
        self._limited, self._due_ns = True, now_ns + LOOK_NS
        try:
            pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
            resident, data = int(pages[RESIDENT]) * PAGE_BYTES, int(pages[DATA]) * PAGE_BYTES
        except MemoryError:  # there is a limit, then, and it stays as it is
            return
        except (OSError, ValueError, IndexError):
            log.warning("what this worker holds can't be read: its memory's limit stays as it was", exc_info=True)
            return
        if data == 0:  # a system that does not count it
            return
        limit = data + max(0, self._resident_bytes_max - resident) + MARGIN_BYTES
        self._set(limit if self._usual == resource.RLIM_INFINITY else min(limit, self._usual))

    def _set(self, soft: int) -> None:
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, self._hard))
        except (OSError, ValueError):  # where the system forbids it, memory is control's to watch, as ever
            log.warning("the memory of this worker can't be limited", exc_info=True)
