"""`python -m server.worker`: one worker, told what to do by a WorkerSpec in JSON on standard input.

With `--standby DESCRIPTOR LISTENER` it is the parent's standby: it imports all that a worker with this listener needs,
in nobody's way, writes a byte to the descriptor, and is told which worker it is when one is missed.
Exits 0 after a drain, EXIT_REFUSED with one line in the log where starting again would not help.
"""

from __future__ import annotations

import os
import sys

from server.importing import import_unhurried, without_collections

# A worker computes nothing with it, and its pool would be as nice as whoever imports it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> int:
    if sys.argv[1:2] == ["--standby"]:
        descriptor, listener = sys.argv[2:]
        import_unhurried(lambda: _import_all(listener))
        with os.fdopen(int(descriptor), "wb") as ready:
            ready.write(b"\n")
    else:
        _import_all()
    from server.worker.starting import start

    return start(sys.stdin.buffer.read())


def _import_all(listener: str | None = None) -> None:
    """listener: what only a worker with this one needs, too. Without it, that is left to when it is needed."""
    with without_collections():
        from native.cache import use_kernel_cache
        from native.compiler import import_numba_without_scipy

        import_numba_without_scipy()
        use_kernel_cache()
        # Kernel modules compile as they are imported: only now is the cache in place.
        from server.worker.starting import import_for

        if listener is not None:
            import_for(listener)


if __name__ == "__main__":
    sys.exit(main())
