"""The loader: `python -m server.worker.trial PID`, a `server.trials.TrialSpec` a line on standard input, a TrialEnd a
line on the output. PID: the process that asks, with which it ends.

Always: each artifact is opened by a child of its own, which has its limits before that; nothing that the artifact does
outlives the child, and no child the loader. Ends with its standard input.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType
from typing import Final

from native.compiler import import_numba_without_scipy
from server.importing import without_collections
from server.worker.freed_memory import trim_memory

# At least: where cores are short, whoever waits for a trial does, and not the traffic. Its children are nicer still.
NICENESS: Final = 10
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


def main(asker: int) -> int:
    from server.worker.trial.endings import end_with  # before all that takes long

    end_with(asker)
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's is for the server, which closes the standard input
    # Whatever is printed meanwhile, or by a library, is no answer.
    answers = os.fdopen(os.dup(STANDARD_OUTPUT), "w")
    os.dup2(STANDARD_ERROR, STANDARD_OUTPUT)
    with without_collections():
        import_numba_without_scipy()
        from server.worker.trial.child import try_in_child
        from server.worker.trial.rehearsal import rehearse

        try:
            rehearse()
        except Exception:  # noqa: BLE001  # a child that can't do without it will say so, with a verdict
            traceback.print_exc()
    trim_memory()  # what imports left over: a child that took it would be weighed too light

    signal.signal(signal.SIGTERM, _end)
    for line in sys.stdin.buffer:
        print(try_in_child(line).model_dump_json(), file=answers, flush=True)
    return 0


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
