"""Kernels that are compiled already are not loaded before a start only to find that out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import native.cache
from native.cache import KERNEL_CACHE_VARIABLE, kernel_digest, note_kernels_compiled
from server.cli.children import WARM_COMMAND
from server.cli.serve import commands_for


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of `native` with a cache of its own."""
    folder = tmp_path / "native"
    shutil.copytree(Path(native.cache.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv(KERNEL_CACHE_VARIABLE, str(tmp_path / "kernels"))
    monkeypatch.setattr(native.cache, "__file__", str(folder / "cache.py"))
    kernel_digest.cache_clear()
    yield folder
    kernel_digest.cache_clear()


def test_kernels_are_compiled_unless_all_that_the_listener_needs_are_there(sources: Path) -> None:
    assert commands_for("grpcio").warm == WARM_COMMAND
    note_kernels_compiled(fast_lane=False)
    assert commands_for("grpcio").warm is None
    assert commands_for("fast").warm == WARM_COMMAND
    note_kernels_compiled(fast_lane=True)
    assert commands_for("fast").warm is None


def test_those_of_the_fast_lane_are_all(sources: Path) -> None:
    note_kernels_compiled(fast_lane=True)
    assert commands_for("grpcio").warm is None


def test_a_source_that_was_written_again_is_compiled_again(sources: Path) -> None:
    """Numba goes by a file's time, whatever is in it."""
    note_kernels_compiled(fast_lane=True)
    kernel = sources / "wire" / "fields.py"
    times = kernel.stat()
    os.utime(kernel, ns=(times.st_atime_ns, times.st_mtime_ns + 1_000_000))
    assert commands_for("fast").warm == WARM_COMMAND


def test_sources_in_another_folder_are_compiled_for_it(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note_kernels_compiled(fast_lane=True)
    moved = sources.rename(sources.with_name("moved"))
    monkeypatch.setattr(native.cache, "__file__", str(moved / "cache.py"))
    kernel_digest.cache_clear()
    assert commands_for("fast").warm == WARM_COMMAND
