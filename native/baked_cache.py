"""Kernels that were compiled into an image, read from a folder that nobody can write.

Numba takes a cache folder only after it has written a file into it, and refuses to import a kernel where it finds none.
An image with a read-only root names this class in $NUMBA_CACHE_LOCATOR_CLASSES instead; `roost warm` fills the folder
while the image is built.
Always: the folder and its index are the same as without it; only the trial of writing is left out.
"""

from __future__ import annotations

from pathlib import Path

from numba.core.caching import UserProvidedCacheLocator


class BakedCacheLocator(UserProvidedCacheLocator):
    """Finds kernels below $NUMBA_CACHE_DIR whether or not that can be written."""

    def ensure_cache_path(self) -> None:
        """A folder that is there will do. One that is not must be made, so that a cache baked too thin is noticed."""
        if not Path(self.get_cache_path()).is_dir():
            super().ensure_cache_path()
