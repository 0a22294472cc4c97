"""Season: what is usual at this hour of the week, learnt from windows that were quiet.

Minutes and hours are compared with it, since what is usual at night is drift by day; days and weeks, which hold the
whole of a season, with the training reference. Used by control and the replay: one season for each signal. Pure values.
Always: a window is judged before it is learnt; one that drifts, or that says nothing, is not learnt; it touches one
hour, so that each is kept by itself: what a minute writes is one array and not 168.

**Shrinking.** The hour's counts are mixed with the training reference, as if with 1,000 rows of it, or with fewer where
the hour plainly differs: with (B - 1)/PSI0, the concentration of a Dirichlet that strays as far as this hour does
(method of moments). With 1,000 rows always, an hour that differs by half a standard deviation and has 6,000 rows is
off by a seventh of that for good, which is more than its own error until it has 25,000.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from server.judgement.drift.judge import Judged, judge, not_enough, watched
from server.judgement.drift.layout import Floats
from server.judgement.drift.limits import Limits
from server.judgement.drift.psi import debiased, psi, shares
from server.judgement.drift.reference import HOURS_OF_WEEK, Reference, rows_needed
from server.judgement.drift.report import Verdict
from server.judgement.drift.state import SignalState
from server.judgement.drift.state_bytes import BadState, pack, unpack
from server.judgement.drift.window import Window

KIND_WHOLE: Final = 2
KIND_HOUR: Final = 3
PRIOR_ROWS: Final = 1000.0
HALF_LIFE_WEEKS: Final = 4.0
HOUR_S: Final = 3600.0


@dataclass(frozen=True, eq=False)
class Season:
    """hours: 168 arrays of float64[T], merged bins, Monday 0:00 UTC first: effective rows, the older the lighter."""

    hours: tuple[Floats, ...]

    def reference(self, training: Reference, hour: int) -> Reference:
        """What is usual at `hour`, 0 to 167, shrunk to the training reference. Of no rows where nothing was learnt."""
        known = self.hours[_checked(hour)]
        layout, rows = training.layout, training.layout.sum(known)
        if not (rows > 0).all():
            return training.with_counts(known)
        p, q = shares(known, layout), shares(training.counts, layout)
        strayed = debiased(psi(p, q, layout), layout, rows, training.rows)
        prior_rows = np.minimum(PRIOR_ROWS, (layout.widths - 1) / np.maximum(strayed, 1e-9))
        return training.with_counts(known + layout.spread(prior_rows / training.rows) * training.counts)

    def enough(self, training: Reference, hour: int, tau: float) -> bool:
        """Whether the hour is known as well as a reference has to be, what it was shrunk to left out."""
        rows = training.layout.sum(self.hours[_checked(hour)])
        return bool((rows >= rows_needed(training.layout.widths, tau)).all())

    def learnt(self, hour: int, effective_counts: Floats, window_s: float) -> Season:
        """With a window's rows more. What was known fades by half in HALF_LIFE_WEEKS visits of the whole hour."""
        fade = 0.5 ** (min(window_s / HOUR_S, 1.0) / HALF_LIFE_WEEKS)
        return self.with_hour(hour, self.hours[_checked(hour)] * fade + effective_counts)

    def with_hour(self, hour: int, counts: Floats) -> Season:
        """The same but for this hour, of which `counts` are known."""
        here = _checked(hour)
        return Season((*self.hours[:here], counts, *self.hours[here + 1 :]))

    def hour_to_bytes(self, training: Reference, hour: int) -> bytes:
        """What is known of one hour, for `hour_from_bytes`."""
        return pack(KIND_HOUR, training.digest, [self.hours[_checked(hour)]])


def beginning(training: Reference) -> Season:
    """What the reference knows of its hours; nothing where it has no times."""
    if training.by_hour is None:
        return Season((np.zeros(training.layout.bins),) * HOURS_OF_WEEK)
    return Season(tuple(training.by_hour))


def hour_from_bytes(data: bytes, training: Reference) -> Floats:
    """What `Season.hour_to_bytes` wrote for a reference of the same bins. Raises BadState."""
    (counts,) = unpack(data, KIND_HOUR, training.digest, [training.layout.bins])
    return _known(counts)


def season_from_bytes(data: bytes, training: Reference) -> Season:
    """All hours in one, as they were kept before each had a state of its own. Raises BadState."""
    hours = unpack(data, KIND_WHOLE, training.digest, [training.layout.bins] * HOURS_OF_WEEK)
    return Season(tuple(_known(counts) for counts in hours))


@dataclass(frozen=True)
class SeasonJudged:
    judged: Judged
    season: Season


def judge_hour(
    season: Season, training: Reference, hour: int, window_s: float, window: Window, state: SignalState, limits: Limits
) -> SeasonJudged:
    """`judge` against what is usual at this hour, then learns from a window that is quiet.

    hour: of the week, 0 to 167, in which the window's middle lies. window_s: its length. While the hour is not known
    well enough the window is learnt and not judged.
    """
    training.check_rows(limits.tau)
    if not season.enough(training, hour, limits.tau):
        counts = training.merged(window.counts)
        report = not_enough(
            training,
            limits,
            state,
            float(training.layout.sum(counts).max()),
            f"Still learning what is usual at this hour of the week: {_learnt_of(season, training, hour, limits.tau)}.",
        )
        known = watched(training, window, state)
        return SeasonJudged(Judged(report, known), _with(season, training, hour, window_s, window, known))
    # What was added up so far was held against another hour's reference.
    state = replace(state, rise=state.rise.of_hour(hour))
    found = judge(season.reference(training, hour), window, state, limits)
    if found.report.verdict is not Verdict.QUIET:
        return SeasonJudged(found, season)
    return SeasonJudged(found, _with(season, training, hour, window_s, window, found.state))


def _with(
    season: Season, training: Reference, hour: int, window_s: float, window: Window, state: SignalState
) -> Season:
    phi = np.maximum(state.dispersion.mean, 1.0)
    return season.learnt(hour, training.merged(window.counts) / training.layout.spread(phi), window_s)


def _learnt_of(season: Season, training: Reference, hour: int, tau: float) -> str:
    rows = training.layout.sum(season.hours[hour])
    needed = rows_needed(training.layout.widths, tau)
    least = int(np.argmin(rows / np.maximum(needed, 1)))
    return f"{rows[least]:,.0f} of the {needed[least]:,} rows that it needs were known before this window"


def _known(counts: Floats) -> Floats:
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise BadState("season: expected finite numbers of at least 0, got others. Begin anew")
    return counts


def _checked(hour: int) -> int:
    if not 0 <= hour < HOURS_OF_WEEK:
        raise ValueError(f"hour: expected 0 to {HOURS_OF_WEEK - 1}, hours since Monday 0:00 UTC, got {hour}")
    return hour
