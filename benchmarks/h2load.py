"""h2load: one run of load against one path, and what it says of itself.

Used by side-by-side runs. h2load counts every stream that closed as a success, also one that carries a gRPC error. So
always: a run whose DATA bytes are not exactly those of as many full answers raises, and yields no figure.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import LOAD_CORE, pinned, program

RUN_S_MAX = 60

_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s|m),")
_REQUESTS = re.compile(
    r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
)
_BODY_BYTES = re.compile(r"traffic: .*\((\d+)\) data")
_UNIT_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class WrongRun(RuntimeError):
    """A run of load that is no measurement: failed streams, or other bytes than so many right answers have."""


@dataclass(frozen=True)
class Load:
    """How requests are offered. connections x streams are in flight at any time."""

    connections: int
    streams: int

    @property
    def in_flight(self) -> int:
        return self.connections * self.streams

    @property
    def label(self) -> str:
        connections = "1 connection" if self.connections == 1 else f"{self.connections} connections"
        return f"{self.in_flight} in flight over {connections}"


@dataclass(frozen=True)
class Aim:
    """What is called. body: file with the POST body; headers: "name: value"; reply_body_bytes: DATA of one answer."""

    url: str
    body: Path
    headers: Sequence[str]
    reply_body_bytes: int


@dataclass(frozen=True)
class LoadRun:
    """What h2load said at its end."""

    requests: int
    seconds: float

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.seconds


def run(aim: Aim, load: Load, requests: int) -> LoadRun:
    """`requests` answers as fast as they come. Raises WrongRun."""
    return _run(aim, load, requests, [])


def latencies_us(aim: Aim, load: Load, requests: int, log: Path) -> np.ndarray:
    """int64[requests]: microseconds from request to end of answer, in no order.

    A run of its own: to write the log costs h2load a system call a request, which would slow a throughput run down.
    """
    log.unlink(missing_ok=True)
    _run(aim, load, requests, [f"--log-file={log}"])
    found = np.loadtxt(log, dtype=np.int64, usecols=2, ndmin=1)
    if len(found) != requests:
        raise WrongRun(f"{aim.url}: expected {requests} times in h2load's log, got {len(found)}.")
    return found


def _run(aim: Aim, load: Load, requests: int, more: Sequence[str]) -> LoadRun:
    requests = max(requests, load.in_flight)
    command = [program("h2load"), "-n", str(requests), "-c", str(load.connections), "-m", str(load.streams)]
    command += ["-d", str(aim.body), *more]
    for header in aim.headers:
        command += ["-H", header]
    ended = subprocess.run(
        pinned(LOAD_CORE, [*command, aim.url]), capture_output=True, text=True, timeout=RUN_S_MAX, check=False
    )
    if ended.returncode != 0:
        raise WrongRun(f"{aim.url}: h2load ended with code {ended.returncode}: {ended.stderr.strip()}")
    return read_summary(ended.stdout, aim, requests)


def read_summary(text: str, aim: Aim, requests: int) -> LoadRun:
    """The figures in h2load's own summary. Raises WrongRun where they are not those of `requests` right answers."""
    finished, counts, body = _FINISHED.search(text), _REQUESTS.search(text), _BODY_BYTES.search(text)
    if finished is None or counts is None or body is None:
        raise WrongRun(f"{aim.url}: h2load's summary was not understood:\n{text}")
    total, done, succeeded, *lost = map(int, counts.groups())
    if (total, done, succeeded) != (requests, requests, requests) or any(lost):
        raise WrongRun(f"{aim.url}: expected {requests} streams that end well, got: {counts[0]}.")
    expected_bytes, got_bytes = aim.reply_body_bytes * requests, int(body[1])
    if got_bytes != expected_bytes:
        raise WrongRun(
            f"{aim.url}: expected {expected_bytes} bytes of DATA, {requests} answers of {aim.reply_body_bytes}, got "
            f"{got_bytes}. Some answers were errors: call it once by a gRPC client and read the status."
        )
    return LoadRun(requests, float(finished[1]) * _UNIT_S[finished[2]])
