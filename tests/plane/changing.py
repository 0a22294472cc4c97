"""A plane that another process changes all the time."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from native.plane.layout import Plane

ROOT = Path(__file__).resolve().parents[2]
WRITER = Path(__file__).with_name("routes_writer.py")


@contextmanager
def writer(plane: Plane, kind: str, changes: int) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(plane.fd), kind, str(changes)],
        pass_fds=(plane.fd,),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
