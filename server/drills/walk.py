"""The operator of a drill: runs the runbook's commands, keeps what they said, and holds it to what was expected.

Used by the incidents. Always: a command is run as people run it, in a process of its own, and its real output is kept.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final

from server.drills.report import Expectation, Moment, Report, Step, utc_now
from server.drills.stack import ROOST, STOP_S_MAX, Stack

COMMAND_S_MAX: Final = 120.0
EVENT_POLL_S: Final = 0.02


@dataclass(frozen=True)
class Ran:
    exit_code: int
    output: str


class Walk:
    """said: each moment and command, as it comes."""

    def __init__(self, report: Report, said: Callable[[str], None]) -> None:
        self.report = report
        self._said = said

    def moment(self, text: str, at_utc: str = "") -> None:
        """Into the timeline. at_utc: now, unless another is said."""
        self.report.timeline.append(Moment(at_utc or utc_now(), text))
        self.report.timeline.sort(key=lambda moment: moment.at_utc)  # ISO 8601 sorts as time does
        self._said(text)

    def expect(self, text: str, held: bool, found: object = "") -> None:
        self.report.expectations.append(Expectation(text, bool(held), str(found)))
        if not held:
            self._said(f"FAILED: expected that {text}; found: {found}")

    def run(self, stack: Stack, why: str, *arguments: str, code: int = 0) -> Ran:
        """`roost` with these arguments, into the report. Another exit code than `code` is a failed expectation."""
        command = shlex.join(("roost", *arguments))
        self._said(f"$ {command}")
        at_utc, began_s = utc_now(), time.monotonic()
        ran = _roost(stack, arguments)
        self.report.steps.append(Step(at_utc, why, command, ran.exit_code, ran.output, time.monotonic() - began_s))
        if ran.exit_code != code:
            self.expect(f"`{command}` ends with {code}", False, f"{ran.exit_code}: {ran.output.strip()[-300:]}")
        return ran

    def metrics(self, stack: Stack, why: str, *names: str) -> tuple[str, ...]:
        """The lines of these metrics, into the report as the command that shows them."""
        url = f"http://{stack.ready['http']}/metrics"
        at_utc, began_s = utc_now(), time.monotonic()
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10.0) as reply:
            lines = reply.read().decode().splitlines()
        found = tuple(line for line in lines if line.startswith(names))
        command = f"curl -s {url} | grep -E '^({'|'.join(names)})'"
        self._said(f"$ {command}")
        self.report.steps.append(Step(at_utc, why, command, 0, "\n".join(found), time.monotonic() - began_s))
        return found


def _roost(stack: Stack, arguments: Sequence[str]) -> Ran:
    done = subprocess.run(
        [*ROOST, *arguments],
        cwd=stack.folder,
        env=dict(stack.environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )
    return Ran(done.returncode, done.stdout)


@dataclass(frozen=True)
class Arrived:
    """An event, and when the terminal had it: seconds since 1970."""

    event: dict[str, Any]
    seen_s: float

    @property
    def happened_s(self) -> float:
        """When the server says that it happened, to the millisecond."""
        return datetime.fromisoformat(self.event["at_utc"]).timestamp()

    @property
    def detail(self) -> dict[str, Any]:
        found = json.loads(self.event["detail_json"] or "{}")
        return found if isinstance(found, dict) else {}

    def is_decision(self, kind: str) -> bool:
        return self.event["kind"] == "decision" and self.detail.get("kind") == kind


class Follower:
    """`roost events --follow` in a terminal of its own. Use as a context manager."""

    def __init__(self, stack: Stack) -> None:
        self._arrived: list[Arrived] = []
        self._process = subprocess.Popen(
            [*ROOST, "events", "--follow", "--json"],
            cwd=stack.folder,
            env=dict(stack.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            process_group=0,
        )
        self._thread = threading.Thread(target=self._read, name="events", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(STOP_S_MAX)

    def wait(self, wanted: Callable[[Arrived], bool], limit_s: float) -> Arrived | None:
        """The first event that is wanted, come already or to come; None where none came in time."""
        deadline = time.monotonic() + limit_s
        while True:
            found = next((one for one in list(self._arrived) if wanted(one)), None)
            if found is not None or time.monotonic() > deadline:
                return found
            time.sleep(EVENT_POLL_S)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._arrived.append(Arrived(json.loads(line), time.time()))
