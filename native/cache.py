"""The folder of compiled kernels, named by everything that a kernel is compiled from.

Numba notices an edit in a kernel's own file only: a changed constant in another module would leave stale machine code
behind. So the folder's name is a digest of all sources of `native/`, the compiler, the processor and libnghttp2.
Used by `native/__init__.py`; `roost doctor` and `roost warm` show the folder.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding
import numba

from native.library import find_library

KERNEL_CACHE_VARIABLE = "ROOST_KERNEL_CACHE"


@cache
def kernel_digest() -> str:
    """First 16 hexadecimal digits of the sha256 over all that decides what machine code a kernel becomes."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    library = find_library()
    facts = (
        numba.__version__,
        llvmlite.__version__,
        numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name(),
        numba.config.CPU_FEATURES or "",
        f"boundscheck={numba.config.BOUNDSCHECK}",
        library.version if library else "no libnghttp2",
    )
    digest.update("\0".join(str(fact) for fact in facts).encode())
    return digest.hexdigest()[:16]


def kernel_cache_folder() -> Path:
    """Where this process keeps compiled kernels: below $ROOST_KERNEL_CACHE, else below the user's cache folder."""
    base = os.environ.get(KERNEL_CACHE_VARIABLE)
    if not base:
        cache_home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        base = str(Path(cache_home) / "roost" / "kernels")
    return Path(base) / kernel_digest()


def use_kernel_cache() -> None:
    """Makes Numba keep compiled kernels in `kernel_cache_folder()`."""
    numba.config.CACHE_DIR = str(kernel_cache_folder())
