"""Numba without SciPy, for processes that serve.

Used by the worker and by control before they import kernels. Always: who imports SciPy afterwards gets it.
"""

from __future__ import annotations

import importlib
import sys


def import_numba_without_scipy() -> None:
    """Numba imports SciPy where it is there, only to look at its version: a fifth of a second and 17 MiB.

    Numba then compiles no `numpy.dot` and no `numpy.linalg`, in this process: no kernel of ours has them.
    """
    if "scipy" in sys.modules:
        return
    sys.modules["scipy"] = None  # type: ignore[assignment]  # what stands there as None can't be imported
    try:
        importlib.import_module("numba.np.arraymath")  # which asks for it
    finally:
        del sys.modules["scipy"]
