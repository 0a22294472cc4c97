"""The plane's lock: one writer, whatever becomes of it."""

import subprocess
import sys

import pytest

from native.plane.layout import Plane
from server.control.plane_lock import PlaneHeld, own_plane

HOLDER = """
import sys, time
from server.control.plane_lock import own_plane
own_plane(int(sys.argv[1])).take(0)
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_writer_is_refused_until_the_first_one_ends_even_by_a_kill() -> None:
    plane = Plane.create(1)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(plane.fd)], pass_fds=(plane.fd,), stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(PlaneHeld):
            own_plane(plane.fd).take(0.1)
    finally:
        holder.kill()
        holder.wait()
    mine = own_plane(plane.fd)
    mine.take(5)
    with pytest.raises(PlaneHeld):
        own_plane(plane.fd).take(0)
    mine.release()
    own_plane(plane.fd).take(0)
