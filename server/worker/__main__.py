"""`python -m server.worker`: one worker, told what to do by a WorkerSpec in JSON on standard input.

With `--standby DESCRIPTOR LISTENER` it is the parent's standby: it imports all that a worker with this listener needs,
in nobody's way, writes a byte to the descriptor, and is told which worker it is when one is missed.
Exits 0 after a drain, EXIT_REFUSED with one line in the log where starting again would not help.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from server.importing import import_unhurried, without_collections

# A worker computes nothing with it, and its pool would be as nice as whoever imports it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

OOM_SCORE = Path("/proc/self/oom_score_adj")


def main() -> int:
    if sys.argv[1:2] == ["--standby"]:
        with _ended_first_for_memory():
            document = _stand_by(*sys.argv[2:])
    else:
        _import_all()
        document = sys.stdin.buffer.read()
    from server.worker.starting import start

    return start(document)


def _stand_by(descriptor: str, listener: str) -> bytes:
    """What the worker is told whose place it takes."""
    import_unhurried(lambda: _import_all(listener))
    with os.fdopen(int(descriptor), "wb") as ready:
        ready.write(b"\n")
    return sys.stdin.buffer.read()


@contextlib.contextmanager
def _ended_first_for_memory() -> Iterator[None]:
    """Where memory runs out, Linux ends whoever stands by, and none of those that serve."""
    before = None
    with contextlib.suppress(OSError):
        before = OOM_SCORE.read_text()
        OOM_SCORE.write_text("1000")
    yield
    if before is not None:
        with contextlib.suppress(OSError):  # better a worker that would be ended first than none
            OOM_SCORE.write_text(before)


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
