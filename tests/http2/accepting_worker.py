"""A worker that takes one more connection in the very turn in which it stops accepting: it waits until one is there.

Started by tests in place of `-m server.worker`.
"""

from __future__ import annotations

import select
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from server.worker.__main__ import main
from server.worker.listeners.accepting import Acceptor

WAIT_S = 20.0
stop = Acceptor.stop


def accept_and_stop(acceptor: Acceptor) -> None:
    ready, _, _ = select.select([acceptor._listening], [], [], WAIT_S)
    assert ready, "nobody came"
    time.sleep(0.2)  # until its call is here, too
    acceptor._acceptable()
    stop(acceptor)


Acceptor.stop = accept_and_stop  # type: ignore[method-assign]
sys.exit(main())
