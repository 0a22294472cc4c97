"""What is imported at a start costs no collection, then or later; what is imported without hurry is in nobody's way."""

import os
import subprocess
import sys
import threading

import pytest

from server.importing import import_unhurried
from server.scheduling import LAST_NICENESS

PROGRAM = """
import gc
from server.importing import without_collections

collections = []
gc.callbacks.append(lambda phase, _: collections.append(phase))
try:
    with without_collections():
        import json, typing, logging, asyncio
        for _ in range(100):
            [[] for _ in range(1000)]
        {body}
except ValueError:
    pass
assert not collections, "collected while it was imported"
assert gc.isenabled()
assert gc.get_freeze_count() > 10_000
"""


@pytest.mark.parametrize("body", ["pass", "raise ValueError"])
def test_nothing_is_collected_while_something_is_imported_and_it_is_not_looked_at_again(body: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM.format(body=body)], check=True)


def test_what_is_imported_without_hurry_is_last_and_its_importer_is_not() -> None:
    before, found = os.getpriority(os.PRIO_PROCESS, 0), []
    import_unhurried(lambda: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
    assert found == [LAST_NICENESS]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_what_cannot_be_imported_is_the_callers_to_know() -> None:
    def fail() -> None:
        raise ImportError("no such thing")

    with pytest.raises(ImportError, match="no such thing"):
        import_unhurried(fail)
