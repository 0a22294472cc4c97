"""A folder with windows of a counted seat, and what is on disk of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from server.control.drift.kept import Stream
from server.control.drift.store import Store
from server.control.drift.windows import Window, WindowKind
from tests.control.drift.counted_seats import DIGEST, MODEL, Clock, CountedSeat, Observed, store_in

STREAM = Stream(MODEL, DIGEST)
WAIT_S = 20.0


def on_disk(store: Store, kind: WindowKind = WindowKind.MINUTE) -> tuple[Window, ...]:
    return store.windows(STREAM, kind, count=100_000)


def filled(folder: Path, random: np.random.Generator, counted: CountedSeat, slices: int = 40) -> Clock:
    """A folder with windows of a counted seat. The clock as it is then."""
    observed = Observed(store_in(folder), Clock())
    observed.run([counted], slices, random)
    observed.book.keep_state(MODEL, DIGEST, "inputs", b"evidence")
    observed.book.save_everything()
    assert observed.store.close(WAIT_S)
    return observed.clock
