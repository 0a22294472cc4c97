"""`python -m server.control`: the control process, told what to do by a ControlSpec in JSON on standard input."""

from __future__ import annotations

import asyncio
import sys

from native.compiler import import_numba_without_scipy
from server.importing import without_collections
from server.logs import start_logging
from server.processes import ControlSpec


def main() -> int:
    spec = ControlSpec.model_validate_json(sys.stdin.buffer.read())
    start_logging(spec.settings.logs, "control")
    with without_collections():
        import_numba_without_scipy()
        # Kernel modules ask for Numba as they are imported.
        from server.control.process import control

    asyncio.run(control(spec))
    return 0


if __name__ == "__main__":
    sys.exit(main())
