"""Imports without the garbage collector.

Used by every process of the server as it begins, and where control imports a registry's client later. Always: what is
there once it has been imported stays, and no later collection looks at it again.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.scheduling import give_way


@contextmanager
def without_collections() -> Iterator[None]:
    """Around imports. To look through 200,000 objects again and again takes a tenth of a start, and each full
    collection afterwards 60 ms, for which everything in the process waits. Hardly any of them can be freed."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def import_unhurried(import_all: Callable[[], None]) -> None:
    """Imports only with what nobody else wants of the processor. Raises what `import_all` does.

    In a thread that ends with it, since a thread that has made itself nicer stays so.
    """
    problems: list[BaseException] = []

    def import_nicely() -> None:
        give_way()
        try:
            import_all()
        except BaseException as problem:  # noqa: BLE001  # it is the caller's
            problems.append(problem)

    thread = threading.Thread(target=import_nicely, name="roost-importing")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
