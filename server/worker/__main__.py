"""`python -m server.worker`: one worker, told what to do by a WorkerSpec in JSON on standard input.

Exits 0 after a drain, EXIT_REFUSED with one line in the log where starting again would not help.
"""

from __future__ import annotations

import logging
import sys

from pydantic import ValidationError

from native.cache import use_kernel_cache
from native.compiler import import_numba_without_scipy
from server.importing import without_collections
from server.logs import start_logging
from server.processes import EXIT_REFUSED, WorkerSpec

log = logging.getLogger("roost.worker")


def main() -> int:
    try:
        spec = WorkerSpec.model_validate_json(sys.stdin.buffer.read())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        print(f"standard input: {field or 'document'}: {first['msg']}. Workers are started by `roost serve`.",
              file=sys.stderr)  # fmt: skip
        return EXIT_REFUSED
    start_logging(spec.settings.logs, f"worker {spec.index}")
    with without_collections():
        import_numba_without_scipy()
        use_kernel_cache()
        # Kernel modules compile as they are imported: only now is the cache in place.
        from server.worker.models.loading import ModelRefused
        from server.worker.process import run

    try:
        return run(spec)
    except ModelRefused as refusal:
        log.error("%s", refusal)
        return EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main())
