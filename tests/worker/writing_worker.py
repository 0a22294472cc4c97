"""A worker that counts the writes to its connections, into a file that tests map: COUNTS_FILE is the first argument.

Started by tests in place of `-m server.worker`.
"""

from __future__ import annotations

import mmap
import sys
from ctypes import c_int64
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from native.lane.layout import LANE_SEGMENT_COUNT
from server.worker.__main__ import main
from server.worker.listeners.fast_lane import FastLaneListener

with Path(sys.argv[1]).open("r+b") as file:
    writes = c_int64.from_buffer(mmap.mmap(file.fileno(), 8))

flush = FastLaneListener.flush


def counted(listener: FastLaneListener) -> None:
    flush(listener)  # in one piece, as long as there is little to write
    segments = listener._lane.segments[: int(listener.words[LANE_SEGMENT_COUNT])]
    writes.value += int((segments[:, 2] > segments[:, 1]).sum())


FastLaneListener.flush = counted  # type: ignore[method-assign]
sys.exit(main())
