"""`python -m benchmarks.drift_look`: what a look at drift, and a scrape of its counts, cost control's loop.

A real plane, book, judge and collector, without a server: counts are read, cut into windows, judged where windows end,
and encoded as Prometheus takes them. Looks are of three kinds: most end nothing, one in sixteen ends a minute, and that
of Monday 0:00 UTC a minute, an hour, a day and a week. Always: every hour of the week is known, so that each window is
judged in full.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console
from rich.table import Table

from native.plane.drift import DriftReader, open_counts
from native.plane.layout import DRIFT_BUCKETS, Plane
from native.route.layout import MAIN
from registry_client.baseline.document import HOURS_OF_WEEK, Baseline, Feature, Kind
from server.control.drift.baselines import ArtifactBaseline
from server.control.drift.book import DriftBook
from server.control.drift.exported import ExportedCollector
from server.control.drift.judging import Seen, WindowJudge
from server.control.drift.readings import SLICE_NS, Reading, Source
from server.control.drift.signals import signals_of
from server.control.drift.store import Store
from server.control.drift.watching import ModelDrift
from server.control.drift.windows import MINUTE_NS, MONDAY_NS, SLICES_MIN, WEEK_NS, WindowKind
from server.settings import DriftSettings

MODEL, DIGEST = "m", "d" * 64
FEATURES: Final = (8, 50, 200, 512)
POINTS: Final = tuple(float(point) for point in range(11))  # 13 bins of ten deciles, as `--bins` makes them
BINS: Final = len(POINTS) + 3
ROWS_A_LOOK: Final = 2_000
MINUTES_BEFORE, MINUTES_AFTER = 4, 1  # Monday 0:00 UTC
KINDS: Final = ("ends nothing", "ends a minute", "ends a week, too")


@dataclass
class Measured:
    """Seconds of each look, by kind, and of each scrape."""

    features: int
    looks: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    scrapes: list[float] = field(default_factory=list)
    series: int = 0


class Watched:
    """A served model with so many inputs and one prediction, as `DriftWatch` has it."""

    def __init__(self, features: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        counts = tuple(self._random.multinomial(20_000, np.full(BINS, 1 / BINS)).tolist())
        hours = (counts,) * HOURS_OF_WEEK
        inputs = tuple(Feature(f"f{n}", "x", n, Kind.NUMBER, POINTS, counts, 1.0, hours) for n in range(features))
        outputs = (Feature("y", "y", 0, Kind.NUMBER, POINTS, counts, None, hours),)
        baseline = Baseline(20_000, 0.0, inputs, outputs)
        offsets = np.arange(features + 2, dtype=np.int64) * BINS
        reference = np.array(counts * (features + 1), dtype=np.int64)
        artifact = ArtifactBaseline(DIGEST, baseline, (*inputs, *outputs), offsets, reference)
        self.signals = signals_of(artifact)
        known = ModelDrift()
        known.begin(DIGEST)
        known.baseline, known.signals = artifact, self.signals
        self.models = {MODEL: known}
        self._bins = artifact.bins
        plane = Plane.create(1)
        self._counts = open_counts(plane.drift(0, 0), 1, artifact.bins)[MAIN]
        self._reader = DriftReader(plane)
        monday = MONDAY_NS + 2_900 * WEEK_NS
        self.at_utc_ns = monday - MINUTES_BEFORE * MINUTE_NS
        self.book = DriftBook(Store(None, "plane"), {}, self.at_utc_ns)
        self._judge = WindowJudge(self.book, DriftSettings())

    def count(self) -> None:
        """Rows until the next look."""
        rows = ROWS_A_LOOK // DRIFT_BUCKETS
        shares = np.full(BINS, 1 / BINS)
        for place in range(self._bins // BINS):
            part = self._random.multinomial(rows, shares, size=DRIFT_BUCKETS)
            self._counts[:, place * BINS : (place + 1) * BINS] += part
        self.at_utc_ns += SLICE_NS

    def look(self) -> list[Seen]:
        """As `DriftWatch.look`: what the windows that ended say."""
        counts = self._reader.read(0, 1, self._bins)
        assert counts is not None, "rows were counted"
        reading = Reading(MODEL, DIGEST, Source(0, 1), counts)
        closed = self.book.observe([reading], at_utc_ns=self.at_utc_ns, now_ns=self.at_utc_ns)
        return [self._judge.judge(one, signal) for one in closed for signal in self.signals]


def measured(features: int, rounds: int) -> Measured:
    found = Measured(features)
    for number in range(rounds):
        watched = Watched(features, seed=number)
        registry = CollectorRegistry()
        registry.register(ExportedCollector(watched, DriftSettings().export_features))
        for _ in range((MINUTES_BEFORE + MINUTES_AFTER) * SLICES_MIN):
            watched.count()
            began_s = time.perf_counter()
            seen = watched.look()
            took_s = time.perf_counter() - began_s
            ended = {one.window.kind for one in seen}
            kind = KINDS[2] if WindowKind.WEEK in ended else KINDS[1] if ended else KINDS[0]
            found.looks[kind].append(took_s)
        for _ in range(5):
            began_s = time.perf_counter()
            text = generate_latest(registry)
            found.scrapes.append(time.perf_counter() - began_s)
        found.series = sum(not line.startswith(b"#") for line in text.splitlines())
    return found


def shown(found: list[Measured]) -> Table:
    """Median and worst, in milliseconds."""
    table = Table(title="a look at drift, median and worst of it in ms", title_justify="left")
    for column in ("features", *(f"a look that {kind}" for kind in KINDS), "a scrape", "series"):
        table.add_column(column, justify="right")
    for one in found:
        cells = [_cell(one.looks[kind]) for kind in KINDS]
        table.add_row(f"{one.features}", *cells, _cell(one.scrapes), f"{one.series:,}")
    return table


def _cell(seconds: list[float]) -> str:
    return f"{1e3 * statistics.median(seconds):.2f}; {1e3 * max(seconds):.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift_look", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="of each number of features")
    parser.add_argument("--features", type=int, nargs="+", default=FEATURES, help="inputs of the model")
    given = parser.parse_args()
    Console(width=120).print(shown([measured(features, given.rounds) for features in given.features]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
