"""What a closed window says: each signal's detectors, one for each length of windows, fed and asked.

Used by `watching`, and offline by `server.replay`. Always: what a detector knows is kept with the window that it has
just seen, so that a restart forgets neither, nor takes one twice; what can't be read any more begins anew, and says so.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final, Protocol

from server.control.drift.book import Closed
from server.control.drift.kept import SIGNALS_MAX
from server.control.drift.signals import Signal, hour_of_week
from server.control.drift.windows import Window, WindowKind
from server.judgement.drift.detector import threshold
from server.judgement.drift.judge import Judged, judge, not_enough
from server.judgement.drift.limits import Limits
from server.judgement.drift.reference import HOURS_OF_WEEK, Reference, TooFewRows
from server.judgement.drift.report import DriftReport
from server.judgement.drift.season import Season, hour_from_bytes, judge_hour, season_from_bytes
from server.judgement.drift.season import beginning as season_begins
from server.judgement.drift.state import SignalState, state_from_bytes
from server.judgement.drift.state import beginning as state_begins
from server.judgement.drift.state_bytes import BadState
from server.settings import DriftSettings

log = logging.getLogger("roost.control")

SIGNALS: Final = 2
DETECTORS: Final = SIGNALS * len(WindowKind)
"""Of one model: they share the days without a false alarm."""
SEASONAL: Final = (WindowKind.MINUTE, WindowKind.HOUR)
"""Days and weeks hold the whole of a day's season."""
assert SIGNALS * (len(WindowKind) + len(SEASONAL) * (HOURS_OF_WEEK + 1)) < SIGNALS_MAX, "the book has room for all"
NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True)
class Seen:
    """A report, and the window that it is of."""

    signal: str
    digest: str
    window: Window
    report: DriftReport


def limits_of(settings: DriftSettings, kind: WindowKind) -> Limits:
    """Of one detector."""
    window_s = kind.length_ns / NS_PER_S
    # A week is longer than some promises: no alarm more often than every window.
    days = max(settings.days_without_false_alarm, window_s / 86_400 / DETECTORS)
    return Limits(threshold(days, window_s, DETECTORS), tau=settings.tau, rows_min=settings.rows_min)


class Keeper(Protocol):
    """Where detectors and seasons are kept, by model, digest and what they are of. The drift book is one."""

    def keep_state(self, model: str, digest: str, signal: str, state: bytes) -> None: ...

    def state(self, model: str, digest: str, signal: str) -> bytes | None: ...


class WindowJudge:
    """Of one server. keeper: where detectors are kept."""

    def __init__(self, keeper: Keeper, settings: DriftSettings) -> None:
        self._keeper = keeper
        self._with_season = settings.season == "learn"
        self._limits = {kind: limits_of(settings, kind) for kind in WindowKind}

    def judge(self, closed: Closed, signal: Signal) -> Seen:
        """The report; one of "not enough", with the reason, where the reference is too small for the settings' tau."""
        window, kind = closed.window, closed.window.kind
        try:
            signal.reference.check_rows(self._limits[kind].tau)
        except TooFewRows as error:
            rows = float(signal.reference.layout.sum(signal.reference.merged(window.counts[signal.bins])).max())
            begun = state_begins(signal.reference)
            report = not_enough(signal.reference, self._limits[kind], begun, rows, str(error))
            return Seen(signal.name, closed.stream.digest, window, report)
        key = f"{signal.name}/{kind.word}"
        state = self._state(closed, key, signal.reference)
        own, limits = signal.window(window), self._limits[kind]
        if self._with_season and kind in SEASONAL:
            hour = hour_of_week(window)
            season = self._season(closed, f"{key}/season", hour, signal.reference)
            window_s = (window.end_utc_ns - window.start_utc_ns) / NS_PER_S
            found = judge_hour(season, signal.reference, hour, window_s, own, state, limits)
            self._keep(closed, f"{key}/season/{hour}", found.season.hour_to_bytes(signal.reference, hour))
            judged: Judged = found.judged
        else:
            judged = judge(signal.reference, own, state, limits)
        self._keep(closed, key, judged.state.to_bytes(signal.reference))
        return Seen(signal.name, closed.stream.digest, window, judged.report)

    def _keep(self, closed: Closed, key: str, state: bytes) -> None:
        self._keeper.keep_state(*closed.stream, key, state)

    def _state(self, closed: Closed, key: str, reference: Reference) -> SignalState:
        data = self._keeper.state(*closed.stream, key)
        try:
            return state_begins(reference) if data is None else state_from_bytes(data, reference)
        except BadState as error:
            _begins_anew(closed, key, error)
            return state_begins(reference)

    def _season(self, closed: Closed, key: str, hour: int, reference: Reference) -> Season:
        """With what is known of this hour; of the others, nothing that was learnt is read.

        Earlier builds kept all hours in one state. It is read until the hour has one of its own, which is at once.
        """
        season = season_begins(reference)
        own, whole = (self._keeper.state(*closed.stream, one) for one in (f"{key}/{hour}", key))
        try:
            if own is not None:
                return season.with_hour(hour, hour_from_bytes(own, reference))
            return season if whole is None else season_from_bytes(whole, reference)
        except BadState as error:
            _begins_anew(closed, f"{key}/{hour}", error)
            return season


def _begins_anew(closed: Closed, key: str, error: BadState) -> None:
    fields = {"model": closed.stream.model, "digest": closed.stream.digest, "state": key, "reason": str(error)}
    log.warning("what a detector of drift knew can't be read, and it begins anew", extra={"fields": fields})
