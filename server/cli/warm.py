"""Compiles all kernels into the cache, in one process, so that workers only load them.

Used by `roost warm`, by the parent before the first worker (`python -m server.cli.warm`) and by the image's build:
several processes that fill one cache at once have crashed Numba. Always: importing a module of `native` compiles the
kernels that it declares, since each has a declared signature, and the inner ones that these call.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import native
from native.cache import kernel_cache_folder, note_kernels_compiled, use_kernel_cache
from native.library import LibraryMissing, find_library, load_library

FAST_LANE_ROOMS: Final = ("native.http2", "native.lane")  # their code calls libnghttp2


@dataclass(frozen=True)
class Warmed:
    """What was done. library: None where libnghttp2 is missing and the fast lane's kernels were left out."""

    folder: Path
    modules: int
    seconds: float
    library: str | None


def warm(*, fast_lane: bool = True) -> Warmed:
    """Imports every kernel module. Those of the fast lane are left out where libnghttp2 is missing or not asked for."""
    started = time.monotonic()
    use_kernel_cache()
    library = find_library() if fast_lane else None
    if library is not None:
        load_library()
    modules = 0
    for module in pkgutil.walk_packages(native.__path__, "native."):
        if library is None and module.name.startswith(FAST_LANE_ROOMS):
            continue
        importlib.import_module(module.name)
        modules += 1
    note_kernels_compiled(fast_lane=library is not None)
    described = f"{library.path} {library.version}" if library else None
    return Warmed(kernel_cache_folder(), modules, time.monotonic() - started, described)


def warm_command() -> None:
    """Compile all kernels, so that no start has to."""
    try:
        warmed = warm()
    except LibraryMissing as error:
        print(f"roost: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    lane = warmed.library or "no libnghttp2, so the fast lane's kernels were left out (see `roost doctor`)"
    print(f"{warmed.modules} modules in {warmed.seconds:.1f} s, for {lane}")
    print(f"kept in {warmed.folder}")


def main() -> int:
    """The exit code: 1 with one line where a library that was found cannot be used. Arguments: [LISTENER]."""
    try:
        warm(fast_lane=sys.argv[1:] != ["grpcio"])
    except LibraryMissing as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
