"""A quick run of swaps: nothing fails, nothing is wrong, the file says what was done. Speed is for `make` to judge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.machine import what_is_missing
from benchmarks.servers import REPOSITORY

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(590)]

KEPT_ON_ANY_MACHINE = {
    "weight flips",
    "swaps to other digests",
    "requests failed or unanswered",
    "requests answered wrongly",
    "the worker's memory, to before",
}


@pytest.mark.skipif(what_is_missing() is not None, reason=str(what_is_missing()))
def test_flips_and_swaps_lose_no_request_and_change_no_answer(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.swaps", "--quick", "--out", str(tmp_path)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=580, check=False)
    assert ended.returncode in (0, 1), ended.stderr
    found = json.loads((tmp_path / "swaps.json").read_text())
    missed = {one["what"] for one in found["targets"] if not one["passed"]}
    assert not missed & KEPT_ON_ANY_MACHINE, ended.stdout
    assert (ended.returncode == 0) == (not missed), "the exit code says whether everything was kept"
    assert found["requests"]["right"] == found["requests"]["sent"] > 1000
    assert len(found["rollback_ms"]) == len(found["late_ms"]) >= 2
    assert all(late < 1000 for late in found["late_ms"])
