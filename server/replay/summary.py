"""What a replay came to: by signal and length of windows, what was said and when first; what the policy asked for.

Used by the command. Always: one pass over what was judged; kept are sums, alarms, and the timeline of one length.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from server.control.drift.windows import WindowKind
from server.judgement.drift.policy import Response
from server.judgement.drift.psi import LARGE_FROM, MODERATE_FROM
from server.judgement.drift.report import Verdict
from server.replay.replaying import Told
from server.replay.times import NS_PER_US, utc_text

RULES_OF_THUMB: Final = (MODERATE_FROM, LARGE_FROM)


@dataclass
class Tally:
    """Of one signal and length. thumb: by rule of thumb, windows in which some feature's PSI was that large or larger.

    moved: by feature, in how many windows of drift it was named.
    """

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    first: Told | None = None
    moved: Counter[str] = field(default_factory=Counter)
    thumb: Counter[float] = field(default_factory=Counter)

    @property
    def windows(self) -> int:
        return self.verdicts.total()

    def note(self, told: Told) -> None:
        self.verdicts[told.verdict] += 1
        if told.largest is not None:
            self.thumb.update(rule for rule in RULES_OF_THUMB if told.largest.psi >= rule)
        if told.verdict is Verdict.DRIFT:
            self.first = self.first or told
            self.moved.update(told.names)


class Summary:
    """shown: the length of windows whose timeline is kept. first: the first alarm of any. asked: what was asked for."""

    def __init__(self, shown: WindowKind) -> None:
        self.shown = shown
        self.timeline: list[Told] = []
        self.tallies: dict[tuple[str, WindowKind], Tally] = {}
        self.first: Told | None = None
        self.asked: list[Told] = []

    def note(self, told: Told) -> None:
        """The next one that was judged."""
        self.tallies.setdefault((told.signal, told.window), Tally()).note(told)
        if told.window is self.shown:
            self.timeline.append(told)
        if told.verdict is Verdict.DRIFT and self.first is None:
            self.first = told
        if told.asked.response is not Response.OFF:
            self.asked.append(told)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "first_alarm": None if self.first is None else told_document(self.first),
            "asked": [_asked_document(told) for told in self.asked],
            "totals": [
                {
                    "signal": signal,
                    "window": kind.word,
                    "windows": tally.windows,
                    **{verdict.value: tally.verdicts[verdict] for verdict in Verdict},
                    "first_drift_utc": None if tally.first is None else utc(tally.first.end_utc_ns),
                    "moved": dict(tally.moved.most_common()),
                    "rule_of_thumb": {f"{rule:g}": tally.thumb[rule] for rule in RULES_OF_THUMB},
                }
                for (signal, kind), tally in self.tallies.items()
            ],
            "shown": self.shown.word,
            "timeline": [told_document(told) for told in self.timeline],
        }


def utc(at_ns: int) -> str:
    """To the second, in ISO 8601."""
    return utc_text(at_ns // NS_PER_US).replace(" ", "T") + "Z"


def told_document(told: Told) -> dict[str, Any]:
    """One window of one signal, as plain JSON."""
    return {
        "signal": told.signal,
        "window": told.window.word,
        "start_utc": utc(told.start_utc_ns),
        "end_utc": utc(told.end_utc_ns),
        "whole": told.whole,
        "rows": told.rows,
        "verdict": told.verdict.value,
        "why": told.why,
        "log_r": told.log_r if told.log_r > float("-inf") else None,
        "log_threshold": told.log_threshold,
        "moved": list(told.moved),
        "largest_psi": None if told.largest is None else {"feature": told.largest.feature, "psi": told.largest.psi},
        "asked": told.asked.response.word,
    }


def _asked_document(told: Told) -> dict[str, Any]:
    return {
        "at_utc": utc(told.at_utc_ns),
        "signal": told.signal,
        "window": told.window.word,
        "response": told.asked.response.word,
        "dry_run": told.asked.dry_run,
        "why": told.asked.why,
        "moved": list(told.names),
    }
