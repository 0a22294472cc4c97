"""What is imported at a start costs no collection, then or later."""

import subprocess
import sys

import pytest

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
