"""Server processes for side-by-side runs and tests: started, waited for by their ready file, stopped.

Always: a server that was started here is stopped here, whatever happens meanwhile, and only by its own pid; it listens
on 127.0.0.1 and on ports that the system chose.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
START_S_MAX = 110  # kernels compile at the very first start, half a minute of CPU time
STOP_S_MAX = 20
LOG_CHARACTERS_SHOWN = 4000


@dataclass(frozen=True)
class Served:
    """A running server. target: "host:port" of its predictions; ready: all of its ready file; log: its output."""

    target: str
    ready: Mapping[str, Any]
    process: subprocess.Popen[bytes]
    log: Path


# What it imports ten seconds after the start would be counted as requests' processor time.
WITHOUT_STANDBY = ("env", "ROOST_SERVER__STANDBY=false")


def roost_command(files: Mapping[str, Path], listener: str, *more: str) -> list[str]:
    """`roost serve` of ONNX files by model name, with one worker unless `more` says otherwise, and no standby."""
    anywhere = "127.0.0.1:0"
    models = [part for name, file in files.items() for part in ("--onnx", f"{name}={file}")]
    addresses = ["--listen", anywhere, "--http", anywhere, "--admin", anywhere]
    serve = [sys.executable, "-m", "server.cli", "serve"]
    return [*WITHOUT_STANDBY, *serve, *models, "--listener", listener, *addresses, *more]


def roost_registry_command(registry: str, model: str, *more: str) -> list[str]:
    """`roost serve` of an artifact in a registry: "name@alias" or "name:version", with one worker and no standby."""
    anywhere = "127.0.0.1:0"
    source = ["--registry", registry, "--model", model]
    addresses = ["--listen", anywhere, "--http", anywhere, "--admin", anywhere]
    serve = [sys.executable, "-m", "server.cli", "serve"]
    return [*WITHOUT_STANDBY, *serve, *source, "--listener", "fast", *addresses, *more]


def plain_command(files: Mapping[str, Path]) -> list[str]:
    """The plain grpc.aio server of ONNX files by model name."""
    models = [part for name, file in files.items() for part in ("--onnx", f"{name}={file}")]
    return [sys.executable, "-m", "benchmarks.plain_server", *models]


def compile_kernels(who: str) -> bool:
    """Before anything is measured, as a server on one core takes a minute over them. False, with a line, on failure."""
    code = subprocess.run([sys.executable, "-m", "server.cli", "warm"], cwd=REPOSITORY, check=False).returncode
    if code != 0:
        print(f"{who}: server.cli warm ended with code {code}; its own words are above.", file=sys.stderr)
    return code == 0


@contextmanager
def served(command: Sequence[str], folder: Path) -> Iterator[Served]:
    """Runs `command` with `--ready-file` and yields once that file is there. Its output goes to a file in `folder`."""
    ready_file, log = folder / "ready.json", folder / "server.log"
    ready_file.unlink(missing_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--ready-file", str(ready_file)], cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        ready = _wait_until_ready(process, ready_file, log)
        yield Served(ready["listen"], ready, process, log)
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], ready_file: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_S_MAX
    while not ready_file.exists():
        if process.poll() is not None:
            raise RuntimeError(f"The server ended with code {process.returncode} before it was ready:\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"The server was not ready within {START_S_MAX} s:\n{_tail(log)}")
        time.sleep(0.02)
    ready: dict[str, Any] = json.loads(ready_file.read_text())
    return ready


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_CHARACTERS_SHOWN:]
