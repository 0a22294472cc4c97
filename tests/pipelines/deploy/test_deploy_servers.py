"""Servers of a deployment's own: how they are found again and ended, and what is said when they don't start."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.deploy.options import Options
from pipelines.deploy.server import PID, READY, Process, alone, serves_for, serving
from pipelines.refusal import Refusal

WAITS = "import sys, time; time.sleep(60)"


def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    said: list[str] = []

    async def tried() -> None:
        async with serving(Options(own_server=True), "churn", str(tmp_path / "none"), tmp_path, said.append):
            raise AssertionError("there is no such registry")

    with pytest.raises(Refusal) as caught:
        asyncio.run(tried())
    assert "registry.path: expected a folder" in "\n".join(caught.value.table)
    assert "ended with code 2" in str(caught.value)
    assert not (tmp_path / PID).exists()
    assert said[0].startswith("starting a server of churn@stable")


def test_a_server_is_known_by_its_ready_file_and_no_other_process_for_it(tmp_path: Path) -> None:
    ours = subprocess.Popen([sys.executable, "-c", WAITS, "serve", "--ready-file", str(tmp_path / READY)])
    other = subprocess.Popen([sys.executable, "-c", WAITS, "serve", "--ready-file", str(tmp_path / "other" / READY)])
    try:
        deadline = time.monotonic() + 10
        while not serves_for(ours.pid, tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert serves_for(ours.pid, tmp_path)
        assert not serves_for(other.pid, tmp_path)
        assert not serves_for(os.getpid(), tmp_path)
        Process(other.pid, tmp_path).stop()
        assert other.poll() is None
        Process(ours.pid, tmp_path).stop()
        assert ours.wait(10) != 0
        assert not serves_for(ours.pid, tmp_path)
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_one_place_has_one_deployment_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path, "churn"), pytest.raises(Refusal, match="another that is under way"), alone(tmp_path, "churn"):
        raise AssertionError("that was the second")
    with alone(tmp_path, "churn"):
        pass
