"""Imports at a start, without the garbage collector.

Used by every process of the server as it begins. Always: what was imported stays, and no collection looks at it again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Around imports. To look through 200,000 objects again and again takes a tenth of a start, and each full
    collection afterwards 60 ms, for which everything in the process waits. Hardly any of them can be freed."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
