"""The readers hold against some seconds of mutated messages, and the fuzzer is known to find what it looks for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.readers import fuzz

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("ROOST_FUZZ_SECONDS", "6"))


@pytest.mark.timeout(SECONDS + 120)
def test_no_message_makes_a_reader_disagree_with_protobuf_or_read_too_far() -> None:
    """In a process of its own: a read too far ends it, and the seed is printed before."""
    seed = time.time_ns() % 2**32
    command = [sys.executable, "-m", "tests.fuzz.readers", "--seconds", str(SECONDS), "--seed", str(seed)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS + 100, check=False)
    print(finished.stdout)
    assert finished.returncode == 0, f"seed {seed}\n{finished.stdout}{finished.stderr}"


def test_enough_messages_are_taken_and_enough_handed_over_to_mean_something() -> None:
    seen = fuzz(seconds=2, first_seed=1)
    for protocol in ("predict", "infer"):
        for outcome in ("taken", "handed over"):
            assert seen[f"{protocol} {outcome}"] > 0.15 * seen["seeds"], dict(seen)


def planted(tmp_path: Path, module: str, with_check: str, without: str) -> subprocess.CompletedProcess[str]:
    """The fuzzer on kernels without one check, compiled into a folder of their own."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.planted", module, with_check, without],
        cwd=ROOT,
        env=os.environ | {"ROOST_KERNEL_CACHE": str(tmp_path), "NUMBA_OPT": "0"},  # compiled in half the time
        capture_output=True,
        text=True,
        timeout=190,
        check=False,
    )


@pytest.mark.timeout(200)
def test_the_guard_page_finds_a_planted_read_too_far(tmp_path: Path) -> None:
    # The bound is still there, but the byte behind it is looked at first.
    looked_at = "if position >= end and message[position] < 255:"
    finished = planted(tmp_path, "native.wire.fields", "if position >= end:", looked_at)
    assert finished.returncode == -signal.SIGSEGV, finished.stdout + finished.stderr


@pytest.mark.timeout(200)
def test_the_comparison_finds_a_planted_misreading(tmp_path: Path) -> None:
    finished = planted(tmp_path, "native.wire.infer_reader", "if rows != parsed[NOTE_SHAPE]:", "if rows < 0:")
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert "AssertionError: infer, seed" in finished.stderr, finished.stderr
