"""The replay says what the server says: the same rows and clock, counted, cut, judged and answered alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from native.plane.layout import DRIFT_BUCKETS
from registry_client.baseline.bins import bins_of
from registry_client.baseline.document import ARGMAX
from registry_client.baseline.values import places_of_largest
from server.control.drift.book import Closed, DriftBook
from server.control.drift.judging import WindowJudge
from server.control.drift.policies import policy_of
from server.control.drift.readings import SLICE_NS, Reading, Source
from server.control.drift.windows import WindowKind
from server.judgement.drift.policy import Response, Taken, decide
from server.judgement.drift.report import Verdict
from server.replay.reading import Rows
from server.replay.replaying import Replay, Told, replayed
from server.replay.subject import Subject
from server.settings import DriftSettings
from server.worker.counting import bucket_of_call
from server.worker.routing import Routed, hash_of
from tests.control.drift.counted_seats import store_in
from tests.replay.made import FACTOR, HOUR_US, MONDAY_US, NAME, normal, subject

NS_PER_US = 1000
SLICE_US = SLICE_NS // NS_PER_US


@dataclass(frozen=True)
class Traffic:
    """times_us rise. keys: whose each row is."""

    times_us: np.ndarray
    x: np.ndarray
    keys: np.ndarray

    @property
    def buckets(self) -> np.ndarray:
        """As the server finds them, a call at a time."""
        of_keys = [
            int(bucket_of_call(Routed(0, 0, 0, 1, 1, hash_of(f"key {key}".encode())))[0])
            for key in range(int(self.keys.max()) + 1)
        ]
        return np.array(of_keys, dtype=np.uint8)[self.keys]

    def rows(self, cuts: list[int]) -> Iterator[Rows]:
        """In pieces that end at these places."""
        whole = Rows(self.times_us, self.buckets, {"x": self.x, "y": self.x * np.float32(FACTOR)})
        ends = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
        for start, stop in pairwise(ends):
            yield whole.taken(slice(start, stop))


def counted(known: Subject, traffic: Traffic) -> np.ndarray:
    """int64[rows, features]: the flat place of each row's bin, by numpy."""
    tensors = {"x": traffic.x, "y": traffic.x * np.float32(FACTOR)}
    places = []
    for feature, start in zip(known.artifact.features, known.artifact.offsets[:-1], strict=True):
        rows = tensors[feature.tensor]
        values = places_of_largest(rows.astype(np.float64)) if feature.column == ARGMAX else rows[:, feature.column]
        places.append(start + bins_of(feature, values))
    return np.stack(places, axis=1)


Said = tuple[Any, ...]


def as_served(known: Subject, traffic: Traffic, chosen: DriftSettings) -> list[Said]:
    """What a server says that reads at the end of each slice, and from which the model is then taken away."""
    slices = traffic.times_us * NS_PER_US // SLICE_NS
    first, last = int(slices[0]), int(slices[-1])
    store = store_in(None)
    book = DriftBook(store, store.load(), first * SLICE_NS)
    judge = WindowJudge(book, chosen)
    policy = policy_of(chosen)
    taken: list[Taken] = []
    said: list[Said] = []
    counts = np.zeros((DRIFT_BUCKETS, known.artifact.bins), dtype=np.int64)
    places, buckets = counted(known, traffic), traffic.buckets

    def take(closed: tuple[Closed, ...], now_s: float | None) -> None:
        for one in closed:
            unit_end_s = (one.window.unit_utc_ns + one.window.kind.length_ns) / 1e9
            for signal in known.signals:
                report = judge.judge(one, signal).report
                at_s = unit_end_s if now_s is None else now_s
                asked = decide(policy, signal.name, report.verdict is Verdict.DRIFT, at_s, taken)
                if asked.response is not Response.OFF:
                    taken.append(Taken(signal.name, asked.response, at_s))
                window = one.window
                rows = known.artifact.rows(window.counts)
                said.append((
                    signal.name, window.kind, window.start_utc_ns, window.end_utc_ns, rows, report.verdict, report.why,
                    report.log_r, report.moved, asked,
                ))  # fmt: skip

    for number in range(first, last + 1):
        these = slices == number
        for feature in range(places.shape[1]):
            np.add.at(counts, (buckets[these], places[these, feature]), 1)
        at_ns = (number + 1) * SLICE_NS
        reading = Reading(NAME, known.digest, Source(0, 1), counts)
        take(book.observe([reading], at_utc_ns=at_ns, now_ns=at_ns), at_ns / 1e9)
    week_ns = WindowKind.WEEK.length_ns
    end_ns = WindowKind.WEEK.unit_start((last + 1) * SLICE_NS) + week_ns
    take(book.observe([], at_utc_ns=end_ns, now_ns=end_ns), None)
    return said


def as_replayed(known: Subject, traffic: Traffic, chosen: DriftSettings, cuts: list[int]) -> list[Said]:
    found = replayed(Replay(known, chosen), traffic.rows(cuts))
    return [_said(told) for told in found]


def _said(told: Told) -> Said:
    return (
        told.signal, told.window, told.start_utc_ns, told.end_utc_ns, told.rows, told.verdict, told.why, told.log_r,
        told.names, told.asked,
    )  # fmt: skip


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(tmp_path_factory.mktemp("agreement"), normal(3_000, 1), bins=4, tau=0.05)


BURSTS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 2, 15, 16, 17, 40, 100]),  # slices of silence before it
        st.integers(1, 80),  # rows
        st.sampled_from([0.0, 0.0, 0.0, 2.0]),  # how far the first column has moved
        st.integers(1, 30),  # keys
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    bursts=BURSTS,
    before_midnight=st.sampled_from([0, 1, 30, 300, 7000]),
    cuts=st.lists(st.integers(0, 900), max_size=4),
    season=st.sampled_from(["learn", "off"]),
    response=st.sampled_from(["alert", "hold"]),
    seed=st.integers(0, 1000),
)
def test_whatever_comes_the_replay_says_what_the_server_says(
    known: Subject, bursts: list[tuple[int, int, float, int]], before_midnight: int, cuts: list[int], season: str,
    response: str, seed: int,
) -> None:  # fmt: skip
    """Windows, figures, words and what the policy asks for; around the turn of an hour, a day and a week."""
    random = np.random.default_rng(seed)
    at, parts = MONDAY_US - before_midnight * SLICE_US, []
    for silence, rows, shift, keys in bursts:
        at += silence * SLICE_US
        times_us = at + np.sort(random.integers(0, 20 * SLICE_US, rows))
        parts.append(Traffic(times_us, normal(rows, seed, shift), random.integers(0, keys, rows)))
        at = int(times_us[-1])
    traffic = Traffic(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("times_us", "x", "keys")))
    chosen = DriftSettings(
        season=season, inputs=response, rows_min=20, tau=0.05, days_without_false_alarm=1.0, cool_down_s=90.0
    )  # type: ignore[arg-type]
    assert as_replayed(known, traffic, chosen, cuts) == as_served(known, traffic, chosen)


def test_they_agree_on_a_drift_that_builds_up_and_on_the_actions_that_follow(known: Subject) -> None:
    rows = 40_000
    x = normal(rows, 5)
    x[rows // 2 :, 0] += 0.8
    random = np.random.default_rng(6)
    traffic = Traffic(MONDAY_US + np.sort(random.integers(0, 2 * HOUR_US, rows)), x, random.integers(0, 5000, rows))
    chosen = DriftSettings(season="off", days_without_false_alarm=1.0, cool_down_s=600.0, inputs="hold", tau=0.05)
    served = as_served(known, traffic, chosen)
    assert as_replayed(known, traffic, chosen, [100, 20_000]) == served
    drifted = [said for said in served if said[5] is Verdict.DRIFT]
    assert drifted, "a shift of 0.8 is seen"
    begun_ns = (MONDAY_US + HOUR_US) * NS_PER_US
    assert min(said[3] for said in drifted) > begun_ns, "and not before it is there"
    assert {name for said in drifted if said[0] == "inputs" for name in said[8]} == {"height"}
    held = [said for said in served if said[9].response is Response.HOLD]
    assert 1 < len(held) < len(drifted), "the cool-down holds"


def test_they_agree_on_what_has_no_number_and_what_the_reference_never_had(known: Subject) -> None:
    x = normal(4_000, 7)
    x[::3, 1] = np.nan
    x[1::9, 2] = np.inf
    x[::2, 3] = 17.0
    traffic = Traffic(MONDAY_US + np.arange(4_000) * 150_000, x, np.arange(4_000))
    chosen = DriftSettings(season="off", days_without_false_alarm=1.0)
    served = as_served(known, traffic, chosen)
    assert as_replayed(known, traffic, chosen, []) == served
    moved = {name for said in served if said[0] == "inputs" for name in said[8]}
    assert moved == {"weight", "age", "plan"}
