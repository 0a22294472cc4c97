"""A worker that counts the Python functions it calls, into a file that tests map: COUNTS_FILE is the first argument.

Numba reports calls of compiled kernels to a profiler, too; they run no Python and are left out, by file and name.
Started by tests in place of `-m server.worker`.
"""

from __future__ import annotations

import importlib
import mmap
import sys
from ctypes import c_int64
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from numba.core.registry import CPUDispatcher

from server.worker.__main__ import main

importlib.import_module("server.worker.listeners.fast_lane")  # and with it every kernel
KERNELS = {
    (thing.py_func.__code__.co_filename, thing.py_func.__code__.co_name)
    for name, module in list(sys.modules.items())
    if name.startswith("native.")
    for thing in vars(module).values()
    if isinstance(thing, CPUDispatcher)
}
assert KERNELS, "no kernel was found to leave out"

with Path(sys.argv[1]).open("r+b") as file:
    calls = c_int64.from_buffer(mmap.mmap(file.fileno(), 8))


def count(frame: FrameType, event: str, _argument: Any) -> None:
    if event == "call" and (frame.f_code.co_filename, frame.f_code.co_name) not in KERNELS:
        calls.value += 1


sys.setprofile(count)
sys.exit(main())
