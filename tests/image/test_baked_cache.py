"""Kernels baked into a read-only folder are found there; Numba by itself would refuse to look."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.read_only import read_only

ROOT = Path(__file__).parents[2]
LOCATOR = "native.baked_cache.BakedCacheLocator"
KERNEL = """
from numba import njit

@njit("int64(int64)", cache=True)
def doubled(number):
    return number * 2

print(doubled(21), sum(doubled.stats.cache_hits.values()))
"""


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module `doubling.py` and its kernel, compiled below `kernels`."""
    folder = tmp_path_factory.mktemp("baked")
    (folder / "doubling.py").write_text(KERNEL)
    (folder / "kernels").mkdir()
    assert run(folder, locator=LOCATOR).stdout.split() == ["42", "0"]
    return folder


def run(folder: Path, *, locator: str = "", kernels: str = "kernels") -> subprocess.CompletedProcess[str]:
    # The package sets the folder for its own kernels when it is imported; this module's is set after that.
    program = f"import native, numba; numba.config.CACHE_DIR = {str(folder / kernels)!r}; import doubling"
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"NUMBA_CACHE_LOCATOR_CLASSES": locator or "UserProvidedCacheLocator"}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_baked_kernel_is_loaded_from_a_folder_that_nobody_can_write(baked: Path) -> None:
    with read_only(baked):
        assert run(baked, locator=LOCATOR).stdout.split() == ["42", "1"]


def test_without_the_locator_the_same_folder_is_refused(baked: Path) -> None:
    with read_only(baked):
        assert "no locator available" in run(baked).stderr


def test_a_folder_that_lacks_the_kernel_is_noticed_rather_than_compiled_for_at_every_start(baked: Path) -> None:
    with read_only(baked):
        done = run(baked, locator=LOCATOR, kernels="none")
    assert done.returncode != 0
    assert "no locator available" in done.stderr
