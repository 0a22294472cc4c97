"""Whether and when a server's drift alarm came, as GetDrift tells it from one look to the next. Pure; used by `drift`.

Always: a window counts once, however often it is seen; one that ended before the run began does not count.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from protos.roost.v1 import admin_pb2

SIGNALS = ("inputs", "predictions")


@dataclass(frozen=True)
class Ended:
    """A window that was judged. ended_s: by the server's clock, seconds since 1970; seen_s: when it was seen."""

    length: str
    ended_s: float
    seen_s: float
    verdict: str
    why: str


@dataclass
class DriftWatched:
    """began_s, shifted_s: seconds since 1970; shifted_s is None as long as nothing was shifted."""

    began_s: float
    shifted_s: float | None = None
    reason: str = ""
    windows: dict[str, list[Ended]] = field(default_factory=lambda: {signal: [] for signal in SIGNALS})

    def note(self, reply: admin_pb2.GetDriftReply, seen_s: float) -> None:
        """What was answered at this moment."""
        self.reason = reply.reason
        for window in reply.windows:
            ended_s = datetime.fromisoformat(window.end_utc).timestamp()
            known = self.windows.setdefault(window.signal, [])
            is_known = any((one.length, one.ended_s) == (window.length, ended_s) for one in known)
            if ended_s > self.began_s and not is_known:
                known.append(Ended(window.length, ended_s, seen_s, window.verdict, window.why))

    def alarm(self, signal: str) -> Ended | None:
        """The first window with drift in it that ended after the shift, or at all where nothing was shifted."""
        after_s = self.shifted_s or self.began_s
        return next((one for one in self.windows[signal] if one.verdict == "drift" and one.ended_s > after_s), None)

    def early(self, signal: str) -> Ended | None:
        """One with drift in it before anything was shifted."""
        if self.shifted_s is None:
            return None
        before_s = self.shifted_s
        return next((one for one in self.windows[signal] if one.verdict == "drift" and one.ended_s <= before_s), None)

    def lines(self) -> list[str]:
        """What to print: a line for each signal."""
        if not any(self.windows.values()):
            return [f"no window has ended meanwhile{f': {self.reason}' if self.reason else ''}"]
        return [line for signal, known in self.windows.items() if known for line in self._lines(signal, known)]

    def _lines(self, signal: str, known: list[Ended]) -> list[str]:
        early, alarm = self.early(signal), self.alarm(signal)
        found = []
        if early is not None:
            found.append(f"{signal} had drifted before the shift: {early.why}")
        if alarm is None:
            last = known[-1]
            said = f"the last {last.length}: {last.verdict}. {last.why}"
            found.append(f"{signal}: no alarm in {len(known):,} windows; {said}")
            return found
        since = "the run began" if self.shifted_s is None else "the shift"
        seconds = alarm.seen_s - (self.shifted_s or self.began_s)
        found.append(f"{signal}: the alarm came {seconds:.1f} s after {since}, by the {alarm.length}. {alarm.why}")
        return found
