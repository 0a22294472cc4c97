"""Trials: an artifact is loaded in a process of its own before any worker sees it.

Used by control. `Trials` keeps a loader, `python -m server.worker.trial`, which has imported what a trial needs and
forks a child for each: it reads a TrialSpec a line on its standard input and writes a TrialEnd a line. It goes once it
was not asked for a while, since what it imported is a hundred megabytes. Always: a child that crashes, hangs or says
nothing is a verdict in words, a loader that does is nobody's fault, and none is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from server.settings import Settings

COMMAND: Final = (sys.executable, "-P", "-m", "server.worker.trial")
OUTPUT_BYTES_MAX: Final = 1 << 20
COMPLAINT_CHARS_MAX: Final = 200
TRIES: Final = 2  # a loader that idled may have been ended by anybody meanwhile
END_S: Final = 5.0  # for a loader to end its child and itself
STARVED_SHARE: Final = 0.5  # of its time in which a trial waited for a core: it took too long by no fault of its own
IDLE_S: Final = 120.0  # without a trial, and the loader goes: the next one takes a second and a half longer


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


class TrialEnd(BaseModel):
    """How a child of the loader ended. code: as `subprocess` has it; verdict: None where it gave none.

    complaint: the end of what it wrote.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: int
    verdict: TrialVerdict | None
    complaint: str


class NotTried(RuntimeError):
    """Nothing can be said of the artifact, for a reason that is none of its own, in one line."""


class Trials:
    """Runs trials, one at a time, in the running loop. Call `close` before that ends."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._loader: asyncio.subprocess.Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False

    async def run(self, spec: TrialSpec) -> TrialVerdict:
        """The verdict, within `trial.load_timeout_s` of its beginning. One that is cancelled leaves nothing behind.

        Raises NotTried.
        """
        async with self._one_at_a_time:
            for _ in range(TRIES):
                if self._closed:
                    raise NotTried("trial: expected a server that goes on, got one that ends.")
                if self._idle is not None:
                    self._idle.cancel()
                    self._idle = None
                loader = await self._begun()
                end = await self._asked(loader, spec)
                if isinstance(end, TrialVerdict):
                    return end
                if end is not None:
                    self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._go_home)
                    return _verdict(end, spec)
                await self._end()
            raise NotTried(
                f"trial: expected a loader that tries it, got one that ended with {loader.returncode}, {TRIES} times. "
                "See what it wrote in control's log; ask again."
            )

    async def close(self) -> None:
        """Ends the loader, where there is one, once no trial runs. There will be no other."""
        self._closed = True
        async with self._one_at_a_time:
            await self._end()

    async def _asked(self, loader: asyncio.subprocess.Process, spec: TrialSpec) -> TrialEnd | TrialVerdict | None:
        """How its child ended; the verdict where it took too long; None where the loader said nothing of use."""
        limit_s = spec.settings.trial.load_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return TrialEnd.model_validate_json(await _answer(loader, spec))
        except TimeoutError:
            waited_s = _waited_for_a_core_s(loader.pid)
            await self._end()
            if waited_s > STARVED_SHARE * limit_s:
                raise NotTried(
                    f"trial: expected a core for most of {limit_s:g} s (trial.load_timeout_s), got none for "
                    f"{waited_s:.0f} s. Ask again when the machine has one to spare, or raise the limit."
                ) from None
            return _too_long(limit_s)
        except ValueError:  # not a TrialEnd, or a line without an end
            return None
        except BaseException:
            await self._end()
            raise

    async def _begun(self) -> asyncio.subprocess.Process:
        """The loader: the one there is, if it lives."""
        if self._loader is not None:
            if self._loader.returncode is None:
                return self._loader
            await self._end()
        self._loader = await asyncio.create_subprocess_exec(
            *COMMAND,
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=OUTPUT_BYTES_MAX,
            # It forks, and a fork takes no other thread along: neither those that compute, nor one that reports.
            env=os.environ | {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"},
        )
        return self._loader

    def _go_home(self) -> None:
        """It ends by itself when nobody can ask any more."""
        self._idle = None
        loader, self._loader = self._loader, None
        assert loader is not None and loader.stdin is not None
        loader.stdin.close()

    async def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._loader is None:
            return
        loader, self._loader = self._loader, None
        assert loader.stdin is not None
        loader.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            loader.terminate()  # it ends its child, and waits for that
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await loader.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                loader.kill()
        await loader.wait()


async def _answer(loader: asyncio.subprocess.Process, spec: TrialSpec) -> bytes:
    """Its answer's line, or b"" where it ended meanwhile."""
    assert loader.stdin is not None and loader.stdout is not None
    with contextlib.suppress(ConnectionError):
        loader.stdin.write(spec.model_dump_json().encode() + b"\n")
        await loader.stdin.drain()
    answer = await loader.stdout.readline()
    if not answer:
        await loader.wait()
    return answer


def _waited_for_a_core_s(loader: int) -> float:
    """Of a loader's child, or its own as long as it has none (proc(5): schedstat); 0 where nobody tells."""
    try:
        children = Path(f"/proc/{loader}/task/{loader}/children").read_text().split()
        of = children or [str(loader)]
        return sum(int(Path(f"/proc/{one}/schedstat").read_text().split()[1]) for one in of) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _verdict(end: TrialEnd, spec: TrialSpec) -> TrialVerdict:
    if end.code == -signal.SIGXCPU:
        return _too_long(spec.settings.trial.load_timeout_s)
    return end.verdict or TrialVerdict(ok=False, reason=_ended(end.code, end.complaint))


def _too_long(limit_s: float) -> TrialVerdict:
    return TrialVerdict(
        ok=False,
        reason=f"trial: expected it loaded and warm within {limit_s:g} s (trial.load_timeout_s), got more. "
        "Make the model smaller, or raise the limit.",
    )


def _ended(code: int, complaint: str) -> str:
    """Why a child ended without a verdict. complaint: what it wrote last."""
    if code < 0:
        name = signal.Signals(-code).name
        hint = "It took too much memory, or its runtime crashed." if -code == signal.SIGKILL else "Its runtime crashed."
        return f"trial: expected it to load, got {name} of the loader. {hint} Do not serve this version."
    last = (complaint.strip().splitlines() or ["nothing"])[-1][:COMPLAINT_CHARS_MAX]
    return f"trial: expected a verdict of the loader, got exit code {code} and: {last}"
