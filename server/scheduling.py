"""Scheduling: which threads the system lets run first, where they share a core.

Used by whoever begins a thread. A worker's loop and its stable's runs are short and urgent: they ask for a short time
slice, which lets them interrupt a thread of longer slices as soon as they have something to do (Linux 6.12 and later;
elsewhere it changes nothing). Canaries' runs and loads are as long as a stranger's model makes them: they keep the
usual slice, and are nicer: loads and shadows always, a canary's runs once they compute for longer than they should.
What can wait for ever, in a process that serves nobody yet, gives way altogether.
Always: what a thread asks for holds for itself and the threads that it begins, until they ask for something else.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading
from typing import Final

# The shortest that Linux takes. A slice is how long a thread may go on once it runs, not how much it gets altogether.
URGENT_SLICE_NS: Final = 100_000
USUAL_SLICE_NS: Final = 0  # the system's own
# The longest. It is also by when a thread that waits has to have had it: one that is as nice as can be is never due. A
# thread of lower niceness must not ask for it: it would be due at times, and then go on for that long.
PATIENT_SLICE_NS: Final = 100_000_000
LAST_NICENESS: Final = 19
SCHED_OTHER: Final = 0
SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}


class SchedAttr(ctypes.Structure):
    """`struct sched_attr` of sched_setattr(2), in its first version. Runtime is the slice of an ordinary thread."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def add_niceness(niceness: int, thread: int) -> None:
    """Makes a thread of this process so much nicer, which is for good without privileges. Raises nothing."""
    # Linux counts a thread as a process here.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)


def schedule_thread(slice_ns: int, niceness: int = 0) -> None:
    """Of the calling thread. niceness: added to what it has.

    Raises nothing: a system that knows no slices, or forbids them, serves all the same.
    """
    thread = threading.get_native_id()
    if niceness:
        add_niceness(niceness, thread)
    call = SCHED_SETATTR.get(platform.machine())
    if call is None or os.sched_getscheduler(0) != SCHED_OTHER:
        return
    nice = os.getpriority(os.PRIO_PROCESS, thread)  # a sum beyond the last is the last
    wanted = SchedAttr(size=ctypes.sizeof(SchedAttr), policy=SCHED_OTHER, nice=nice, runtime=slice_ns)
    ctypes.CDLL(None).syscall(call, 0, ctypes.byref(wanted), 0)


def give_way() -> None:
    """Leaves the calling thread only what no other wants of its core. It can't be taken back.

    Not for a thread that shares an interpreter with one that is waited for: it would be made to wait while it holds it.
    """
    schedule_thread(PATIENT_SLICE_NS, LAST_NICENESS)
