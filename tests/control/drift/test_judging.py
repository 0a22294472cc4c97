"""A window's judge keeps what it has learnt of one hour, and finds it again, however earlier builds have kept it."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from native.plane.layout import DRIFT_BUCKETS
from server.control.drift.book import Closed, DriftBook
from server.control.drift.judging import Seen, WindowJudge
from server.control.drift.kept import Stream
from server.control.drift.readings import Reading, Source
from server.control.drift.signals import Signal, hour_of_week, signals_of
from server.control.drift.windows import HOUR_NS, MINUTE_NS, WindowKind
from server.judgement.drift.report import Verdict
from server.judgement.drift.season import KIND_WHOLE, Season, hour_from_bytes
from server.judgement.drift.state_bytes import pack
from server.settings import DriftSettings
from tests.control.drift.counted_seats import DIGEST, MODEL, MONDAY, Clock, store_in
from tests.control.drift.scraped_fleet import AGE, PLAN, artifact_of

ARTIFACT = artifact_of(DIGEST, [AGE, PLAN])
HOURS = 168
ROWS = 800


class NotingBook(DriftBook):
    """Knows what it was given to keep since it was asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(store_in(None), {}, clock.at_utc_ns)
        self.kept: dict[str, int] = {}

    def keep_state(self, model: str, digest: str, signal: str, state: bytes) -> None:
        super().keep_state(model, digest, signal, state)
        self.kept[signal] = len(state)

    def staged(self) -> dict[str, bytes]:
        """What the next save would write."""
        found = dict(self._artifacts[Stream(MODEL, DIGEST)].staged_states)
        self._artifacts[Stream(MODEL, DIGEST)].staged_states.clear()
        return found


class Judged:
    """Minutes of traffic like the reference, judged as they close."""

    def __init__(self) -> None:
        self.clock = Clock(MONDAY + 9 * HOUR_NS)
        self.book = NotingBook(self.clock)
        self.judge = WindowJudge(self.book, DriftSettings(rows_min=100))
        (self.signal,) = signals_of(ARTIFACT)
        self._counts = np.zeros((DRIFT_BUCKETS, ARTIFACT.bins), dtype=np.int64)
        self._random = np.random.default_rng(4)
        self.minute()  # before anything is judged: the book knows the artifact

    def minute(self) -> tuple[Closed, ...]:
        for place, feature in enumerate((AGE, PLAN)):
            shares = np.array(feature.counts) / sum(feature.counts)
            start, stop = ARTIFACT.offsets[place : place + 2]
            self._counts[:, start:stop] += self._random.multinomial(ROWS // DRIFT_BUCKETS, shares, size=DRIFT_BUCKETS)
        self.clock.step(MINUTE_NS)
        reading = Reading(MODEL, DIGEST, Source(0, 1), self._counts)
        return self.book.observe([reading], at_utc_ns=self.clock.at_utc_ns, now_ns=self.clock.now_ns)

    def judged_minute(self) -> Seen:
        (closed,) = [one for one in self.minute() if one.window.kind is WindowKind.MINUTE]
        return self.judge.judge(closed, self.signal)

    def learnt(self, hour: int) -> float:
        """Rows that are known of an hour by its own state."""
        data = self.book.state(MODEL, DIGEST, f"inputs/minute/season/{hour}")
        assert data is not None
        return rows_of(self.signal, hour_from_bytes(data, self.signal.reference))


def rows_of(signal: Signal, counts: np.ndarray) -> float:
    return float(signal.reference.layout.sum(counts)[0])


def whole(signal: Signal, hour: int, rows: float) -> bytes:
    """As earlier builds kept it: all hours in one, of which one is known."""
    counts = signal.reference.counts * rows / signal.reference.rows[0]
    none = np.zeros_like(counts)
    season = Season((*(none,) * hour, counts, *(none,) * (HOURS - 1 - hour)))
    return pack(KIND_WHOLE, signal.reference.digest, season.hours)


def test_a_minute_writes_what_is_known_of_one_hour() -> None:
    judged = Judged()
    seen = judged.judged_minute()
    hour = hour_of_week(seen.window)
    assert hour == 9
    assert judged.book.kept.keys() == {"inputs/minute", "inputs/minute/season/9"}
    one_array = 8 * judged.signal.reference.layout.bins
    assert one_array < judged.book.kept["inputs/minute/season/9"] < 2 * one_array
    judged.book.staged()
    judged.judged_minute()
    assert judged.book.staged().keys() == {"inputs/minute", "inputs/minute/season/9"}


def test_an_hour_goes_on_with_what_it_knew_and_the_next_one_begins() -> None:
    judged = Judged()
    known = []
    for _ in range(3):
        judged.judged_minute()
        known.append(judged.learnt(9))
    assert known[0] < known[1] < known[2]
    judged.clock.step(HOUR_NS)
    judged.minute()  # the hour without a reading
    judged.judged_minute()
    assert judged.learnt(10) < known[2]
    assert judged.learnt(9) == known[2]


def test_hours_that_an_earlier_build_kept_in_one_are_known_still() -> None:
    judged = Judged()
    judged.book.keep_state(MODEL, DIGEST, "inputs/minute/season", whole(judged.signal, 9, 5_000.0))
    assert judged.judged_minute().report.verdict is Verdict.QUIET, "an hour of 5,000 rows is known well enough"
    after_one = judged.learnt(9)
    assert 5_000 < after_one < 5_000 + ROWS
    judged.judged_minute()
    assert after_one < judged.learnt(9) < 5_000 + 2 * ROWS, "and is not read a second time"


@pytest.mark.parametrize("key", ["inputs/minute/season", "inputs/minute/season/9"])
def test_what_can_t_be_read_of_an_hour_begins_anew_and_says_so(key: str, caplog: pytest.LogCaptureFixture) -> None:
    judged = Judged()
    judged.book.keep_state(MODEL, DIGEST, key, b"RoostDrf and then something else")
    with caplog.at_level(logging.WARNING, logger="roost.control"):
        seen = judged.judged_minute()
        judged.judged_minute()
    assert seen.report.why.startswith("Still learning what is usual at this hour of the week: 0 of")
    (one,) = [record for record in caplog.records if "begins anew" in record.message]
    assert one.fields["state"] == "inputs/minute/season/9"  # type: ignore[attr-defined]
