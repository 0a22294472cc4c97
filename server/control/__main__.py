"""`python -m server.control`: the control process, told what to do by a ControlSpec in JSON on standard input."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

from native.compiler import import_numba_without_scipy
from server.importing import without_collections
from server.logs import start_logging
from server.processes import ControlSpec

NICENESS: Final = 5  # where cores are short, a decision takes a little longer, and traffic does not


def main() -> int:
    spec = ControlSpec.model_validate_json(sys.stdin.buffer.read())
    start_logging(spec.settings.logs, "control")
    os.nice(NICENESS)  # before there is a thread: all of them have it
    with without_collections():
        import_numba_without_scipy()
        # Kernel modules ask for Numba as they are imported.
        from server.control.process import control

    asyncio.run(control(spec))
    return 0


if __name__ == "__main__":
    sys.exit(main())
