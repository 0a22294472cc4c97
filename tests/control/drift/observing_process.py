"""A control process that only keeps the book: reads a plane that lies in a file, as fast as it can, until it is killed.

Run as `python -m tests.control.drift.observing_process FOLDER PLANE_FILE`. The file is int64: first the time, in slices
since MONDAY, which this process moves on, then the counts, which another one adds to.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from server.control.drift.book import DriftBook
from server.control.drift.readings import SLICE_NS, Reading, Source
from server.control.drift.store import Store
from tests.control.drift.counted_seats import DIGEST, MODEL, MONDAY

BINS = 40
WORDS = 1 + 16 * BINS


def main() -> None:
    folder, plane_file = Path(sys.argv[1]), Path(sys.argv[2])
    plane = np.memmap(plane_file, dtype=np.int64, mode="r+", shape=(WORDS,))
    store = Store(folder, "plane")
    book = DriftBook(store, store.load(), MONDAY)
    assert book.trouble is None, book.trouble
    print("reads", flush=True)
    while True:
        plane[0] += 1
        at_ns = int(plane[0]) * SLICE_NS
        counts = plane[1:].reshape(16, BINS)
        book.observe([Reading(MODEL, DIGEST, Source(0, 1), counts)], at_utc_ns=MONDAY + at_ns, now_ns=at_ns)
        book.save()
        if plane[0] % 16 == 0 and not store.flush(10.0):  # a minute of real time has passed since the last write
            raise RuntimeError(f"not written: {store.trouble}")


if __name__ == "__main__":
    main()
