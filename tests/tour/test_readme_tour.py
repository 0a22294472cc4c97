"""The README's tour, run as it is written: two canaries, one promoted, one home by itself, and the reasons told."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = ROOT / ".roost" / "mlflow.db"
LIMIT_S = 180.0

pytestmark = pytest.mark.alone


def commands_of_the_tour() -> list[str]:
    text = (ROOT / "README.md").read_text()
    tour = text[text.index("## The tour") :]
    tour = tour[: tour.index("\n## ", 5)]
    return re.findall(r"^\$ (.*)$", tour, re.MULTILINE)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo registry's own files behind a database of the test's: a promotion moves its aliases."""
    if not REGISTRY.exists():
        pytest.skip("no employment model here: make demo-model candidates")
    listed = subprocess.run(
        [sys.executable, "-m", "server.cli", "list", "employment", "--json", "--registry", f"sqlite:///{REGISTRY}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    if listed.stdout.count('"version"') < 3:
        pytest.skip("no candidates here: make candidates")
    database = tmp_path_factory.mktemp("tour") / "mlflow.db"
    shutil.copy(REGISTRY, database)
    return f"sqlite:///{database}"


class Tour:
    """A server like `make serve`'s on free ports, and the commands pointed at it."""

    def __init__(self, folder: Path, registry: str) -> None:
        self.ready_file = folder / "ready.json"
        self.log = folder / "log"
        anywhere = [flag for name in ("listen", "http", "admin") for flag in (f"--{name}", "127.0.0.1:0")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "server.cli", "serve", "--registry", registry, "--state", str(folder / "state"),
                 "--model", "employment@stable", "--ready-file", str(self.ready_file), *anywhere],
                stderr=log,
                stdout=log,
                env=os.environ | {"ROOST_REGISTRY__CACHE": str(folder / "cache")},
                cwd=ROOT,
            )  # fmt: skip
        self.until(lambda: self.ready_file.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        self.ready: dict[str, Any] = json.loads(self.ready_file.read_text())
        self.environment = os.environ | {"ROOST_ADMIN": self.ready["admin"], "COLUMNS": "200"}

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def run(self, command: str) -> str:
        """A command as the README has it."""
        program, *arguments = shlex.split(command)
        assert program == ".venv/bin/roost", command
        done = subprocess.run(
            [sys.executable, "-m", "server.cli", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=ROOT,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def state(self) -> dict[str, Any]:
        """What `roost status employment --json` says."""
        found: dict[str, Any] = json.loads(self.run(".venv/bin/roost status employment --json"))
        return found


@pytest.fixture
def tour(tmp_path: Path, registry: str) -> Iterator[Tour]:
    tour = Tour(tmp_path, registry)
    yield tour
    tour.process.send_signal(signal.SIGTERM)
    assert tour.process.wait(60) == 0, tour.log.read_text()[-3000:]


def test_the_tour_goes_as_it_is_written(tour: Tour) -> None:
    made, traffic, first, weights, promote, drill, status, explain, verify = commands_of_the_tour()
    assert made == "make candidates", "the registry has them already"
    program, script, *_ = shlex.split(traffic)
    assert program == ".venv/bin/python"
    sending = subprocess.Popen(
        [sys.executable, str(ROOT / script), "--seconds", "600", "--target", tour.ready["listen"]],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        tour.run(first)
        assert "canary" in tour.run(status)
        tour.run(weights)
        tour.run(promote)
        assert "2" in tour.run(".venv/bin/roost status employment")
        tour.run(drill)
        tour.until(lambda: "went_home" in tour.run(".venv/bin/roost journal show --json"))
        told = tour.run(explain)
        assert "version 3" in told
        assert "worse" in told
        assert "version 2 is stable" in tour.run(status) or "2" in tour.run(status)
        tour.run(verify)
    finally:
        sending.terminate()
        said, _ = sending.communicate(timeout=30)
    assert "version 2 (canary)" in said
    assert "version 2 (stable)" in said
    assert "refused" not in said
    refused = subprocess.run(
        [sys.executable, "-m", "server.cli", *shlex.split(drill)[1:], "--request-id", "again"],
        capture_output=True,
        text=True,
        env=tour.environment,
        cwd=ROOT,
        check=False,
    )
    assert refused.returncode == 1
    assert "quarantine" in refused.stderr
