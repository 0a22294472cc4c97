"""Reading to the end or to a bound, from files and from what gives less than it is asked for."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from registry_client.reading import PIECE_BYTES, read_at_most


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 17])
def test_a_file_comes_whole_or_up_to_the_bound(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    for bound in {0, 1, size - 1, size, size + 1, PIECE_BYTES} - {-1}:
        with (tmp_path / "file").open("rb", buffering=0) as file:
            assert read_at_most(file.fileno(), bound) == content[:bound]


def test_a_pipe_that_gives_little_at_a_time_comes_whole() -> None:
    reader, writer = os.pipe()
    content = os.urandom(300_000)

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as pipe:
            for start in range(0, len(content), 999):
                pipe.write(content[start : start + 999])

    thread = threading.Thread(target=write)
    thread.start()
    assert read_at_most(reader, 10**6) == content
    thread.join()
    os.close(reader)
