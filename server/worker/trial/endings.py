"""How a process ends with the one that began it, which can be killed at any moment, and then ends nothing any more."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def end_with(parent: int) -> None:
    """From now on the system kills this process as soon as its parent has ended (prctl(2)), or it ends now.

    Begin it in a thread that lives as long: to the system that thread is the parent.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
