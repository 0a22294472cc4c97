"""A worker's start: what it is told becomes a worker, or one line that says why not.

Used by `python -m server.worker` once the kernels' cache is in place: what is imported here compiles kernels.
"""

from __future__ import annotations

import importlib
import logging
import sys

from pydantic import ValidationError

from native.ort.library import available
from server.logs import start_logging
from server.processes import EXIT_REFUSED, WorkerSpec
from server.worker.listeners.listener import modules_of
from server.worker.models.loading import ModelRefused
from server.worker.process import run

log = logging.getLogger("roost.worker")


def start(document: bytes) -> int:
    """document: a WorkerSpec as JSON. Returns the exit code, at the worker's end."""
    try:
        spec = WorkerSpec.model_validate_json(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        print(f"standard input: {field or 'document'}: {first['msg']}. Workers are started by `roost serve`.",
              file=sys.stderr)  # fmt: skip
        return EXIT_REFUSED
    start_logging(spec.settings.logs, f"worker {spec.index}")
    try:
        return run(spec)
    except ModelRefused as refusal:
        log.error("%s", refusal)
        return EXIT_REFUSED


def import_for(listener: str) -> None:
    """What a worker imports only as it needs it."""
    for module in ("uvloop", *modules_of(listener), *(("server.worker.models.c_session",) if available() else ())):
        importlib.import_module(module)
