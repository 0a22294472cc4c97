"""A worker that counts every Python function it calls, in a file that the test maps: `counted_worker.py FILE`.

Started by tests in place of `-m server.worker`.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parents[2]))

with Path(sys.argv[1]).open("r+b") as file:
    calls = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")


def count(frame: FrameType, event: str, argument: object) -> None:
    if event == "call":
        calls[0] += 1


from server.worker.__main__ import main

# This thread is the loop's. The runner's thread is not counted: it runs nothing but the model.
sys.setprofile(count)
sys.exit(main())
