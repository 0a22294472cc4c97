"""Trials: an artifact is loaded in a process of its own before any worker sees it.

Control calls `run_trial`, which starts `python -m server.worker.trial` with a TrialSpec on standard input and reads one
line of JSON, a TrialVerdict. Always: a process that crashes, hangs or says nothing is a verdict in words, and none is
left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from server.settings import Settings

COMMAND: Final = (sys.executable, "-P", "-m", "server.worker.trial")
OUTPUT_BYTES_MAX: Final = 1 << 20
COMPLAINT_CHARS_MAX: Final = 200
NICENESS: Final = 5  # added to control's own: where cores are short, a trial waits and not the traffic


class TrialSpec(BaseModel):
    """What to try: an artifact that the cache, or the registry's folder, has.

    stable_digest: of the artifact whose inputs and outputs it must have; None where any will do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    digest: str
    stable_digest: str | None
    settings: Settings


class TrialVerdict(BaseModel):
    """ok: False with the reason in one line. rss_bytes: what the process grew by to hold the artifact, warm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ok: bool
    reason: str = ""
    rss_bytes: int = 0
    batchable: bool = False
    seconds: float = 0.0


async def run_trial(spec: TrialSpec, timeout_s: float) -> TrialVerdict:
    """The verdict, in `timeout_s` at the latest."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=OUTPUT_BYTES_MAX,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    with contextlib.suppress(ProcessLookupError):
        # Before it has read what to try; its threads are as patient as it is.
        os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, process.pid) + NICENESS)
    try:
        said, complained = await asyncio.wait_for(process.communicate(spec.model_dump_json().encode()), timeout_s)
    except TimeoutError:
        return _too_long(timeout_s)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    lines = said.splitlines()
    if process.returncode == 0 and lines:
        try:
            return TrialVerdict.model_validate_json(lines[-1])
        except ValidationError:
            return TrialVerdict(ok=False, reason="trial: expected a verdict of the loader, got something else.")
    if process.returncode == -signal.SIGXCPU:
        return _too_long(spec.settings.trial.load_timeout_s)
    return TrialVerdict(ok=False, reason=_ended(process.returncode, complained.decode(errors="replace")))


def _too_long(limit_s: float) -> TrialVerdict:
    return TrialVerdict(
        ok=False,
        reason=f"trial: expected it loaded and warm within {limit_s:g} s (trial.load_timeout_s), got more. "
        "Make the model smaller, or raise the limit.",
    )


def _ended(code: int | None, complaint: str) -> str:
    """Why a loader ended without a verdict. complaint: what it wrote last."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = "It took too much memory, or its runtime crashed." if -code == signal.SIGKILL else "Its runtime crashed."
        return f"trial: expected it to load, got {name} of the loader. {hint} Do not serve this version."
    last = (complaint.strip().splitlines() or ["nothing"])[-1][:COMPLAINT_CHARS_MAX]
    return f"trial: expected a verdict of the loader, got exit code {code} and: {last}"
