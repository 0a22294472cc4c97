"""Imports without the garbage collector.

Used by every process of the server as it begins, and where control imports a registry's client later. Always: what is
there once it has been imported stays, and no later collection looks at it again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
