"""The folder of compiled kernels, named by everything that a kernel is compiled from.

Numba notices an edit in a kernel's own file only: a changed constant in another module would leave stale machine code
behind. So the folder's name is a digest of all sources of `native/`, the compiler, the processor and libnghttp2.
Used by `native/__init__.py` and `roost warm`, which notes when all of them are there; `roost doctor` shows the folder.
Always: nothing here imports the compiler, so that a process which only reads the plane stays small.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from native.library import find_library

KERNEL_CACHE_VARIABLE = "ROOST_KERNEL_CACHE"


def _processor() -> str:
    """The processor that code is compiled for: the one named by $NUMBA_CPU_NAME, else this one by its features."""
    named = os.environ.get("NUMBA_CPU_NAME")
    if named:
        return f"{named} {os.environ.get('NUMBA_CPU_FEATURES', '')}"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {features}"


@cache
def kernel_digest() -> str:
    """First 16 hexadecimal digits of the sha256 over all that decides what machine code a kernel becomes."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    library = find_library()
    facts = (
        sys.version,
        version("numba"),
        version("llvmlite"),
        _processor(),
        f"boundscheck={os.environ.get('NUMBA_BOUNDSCHECK', '')}",
        library.version if library else "no libnghttp2",
    )
    digest.update("\0".join(facts).encode())
    return digest.hexdigest()[:16]


def kernel_cache_folder() -> Path:
    """Where this process keeps compiled kernels: below $ROOST_KERNEL_CACHE, else below the user's cache folder."""
    base = os.environ.get(KERNEL_CACHE_VARIABLE)
    if not base:
        cache_home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        base = str(Path(cache_home) / "roost" / "kernels")
    return Path(base) / kernel_digest()


def _stamp(*, fast_lane: bool) -> Path:
    """The file that says that all kernels are there. Numba takes none whose source has moved or was written since."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        status = path.stat()
        digest.update(f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0".encode())
    return kernel_cache_folder() / f"all-{'fast' if fast_lane else 'grpcio'}-{digest.hexdigest()[:16]}"


def are_kernels_compiled(*, fast_lane: bool) -> bool:
    """Whether `note_kernels_compiled` was called for these very sources. fast_lane: those of the fast lane too."""
    return _stamp(fast_lane=True).exists() or (not fast_lane and _stamp(fast_lane=False).exists())


def note_kernels_compiled(*, fast_lane: bool) -> None:
    """Every kernel is in the cache, so that a start need not load them all only to find that out."""
    stamp = _stamp(fast_lane=fast_lane)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()


def use_kernel_cache() -> None:
    """Makes Numba keep compiled kernels in `kernel_cache_folder()`, whether it is imported already or not."""
    folder = str(kernel_cache_folder())
    os.environ["NUMBA_CACHE_DIR"] = folder
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = folder
