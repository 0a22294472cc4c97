"""A control process that is killed at any moment is followed by one that goes on: no row is lost or counted twice."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from server.control.drift.kept import KEPT_NS, Stream
from server.control.drift.readings import SLICE_NS
from server.control.drift.store import NAME
from server.control.drift.windows import DAY_NS, HOUR_NS, KINDS, Window, WindowKind
from tests.control.drift.counted_seats import (
    DIGEST,
    MODEL,
    MONDAY,
    OTHER,
    Clock,
    Observed,
    check_sequence,
    seat,
    store_in,
    total_of,
)
from tests.control.drift.observing_process import BINS, WORDS

WAIT_S = 20.0
ROOT = Path(__file__).parents[3]


def crashed(observed: Observed, folder: Path) -> Path:
    """The folder as a process that is killed now leaves it. What it has handed over is written or is not."""
    image = folder.with_name(f"{folder.name}+")
    image.mkdir()
    for name in (NAME, f"{NAME}-wal"):
        if (folder / name).exists():
            shutil.copy(folder / name, image / name)
    observed.store.close(WAIT_S)
    shutil.rmtree(folder)
    return image


STEP = st.one_of(
    st.integers(1, SLICE_NS),
    st.just(SLICE_NS),
    st.integers(1, 40 * SLICE_NS),
    st.integers(1, 3 * HOUR_NS),
    st.integers(1, 3 * DAY_NS),
)
# step, rows, rows of the other artifact, then: goes on, is stopped, is killed before or after what it has was written
ROUND = st.tuples(
    STEP, st.integers(0, 50), st.integers(0, 50), st.sampled_from(["on"] * 6 + ["stopped", "unwritten", "written"])
)


JUMPS = st.lists(st.integers(-2 * DAY_NS, 2 * DAY_NS), max_size=3)


@given(rounds=st.lists(ROUND, min_size=1, max_size=40), jumps=JUMPS)
@settings(max_examples=40, deadline=None)
def test_whenever_it_is_killed_nothing_that_was_counted_is_lost_or_doubled(
    rounds: list[tuple[int, int, int, str]], jumps: list[int]
) -> None:
    with TemporaryDirectory() as name:
        check_restarts(Path(name) / "state", rounds, jumps)


def check_restarts(folder: Path, rounds: list[tuple[int, int, int, str]], jumps: list[int]) -> None:
    random = np.random.default_rng(2)
    age_ns = sum(step for step, *_ in rounds) + sum(map(abs, jumps))
    clock = Clock()
    folder.mkdir()
    observed = Observed(store_in(folder), clock)
    seats = [seat(0), seat(1, digest=OTHER)]
    for number, (step, rows, others, then) in enumerate(rounds):
        clock.step(step)
        if number % 10 == 9 and jumps:
            clock.jump(jumps.pop())
        seats[0].count(random, rows)
        seats[1].count(random, others)
        observed.observe(seats)
        if then == "unwritten":
            assert observed.store.flush(WAIT_S)
            folder = crashed(observed, folder)
            observed = Observed(store_in(folder), clock)
            continue
        observed.book.save()
        if then == "written":
            assert observed.store.flush(WAIT_S)
            folder = crashed(observed, folder)
        elif then == "stopped":
            observed.book.save_everything()
            assert observed.store.close(WAIT_S)
        if then != "on":
            observed = Observed(store_in(folder), clock)
    clock.step(1)
    observed.observe(seats)
    observed.book.save_everything()
    assert observed.store.flush(WAIT_S)
    for counted in seats:
        for kind in KINDS:
            kept = observed.store.windows(Stream(MODEL, counted.digest), kind, count=10_000)
            check_sequence(kept)
            progress = observed.book.in_progress(MODEL, counted.digest, kind)
            parts: list[Window] = [*kept, *([] if progress is None else [progress])]
            check_sequence(parts)
            if age_ns < KEPT_NS[kind]:
                assert (total_of(parts) == counted.total).all(), kind
    assert observed.book.resets == 0
    observed.store.close(WAIT_S)


def test_a_process_that_is_killed_between_readings_is_followed_by_one_that_goes_on(tmp_path: Path) -> None:
    random = np.random.default_rng(9)
    plane_file, folder = tmp_path / "plane", tmp_path / "state"
    plane = np.memmap(plane_file, dtype=np.int64, mode="w+", shape=(WORDS,))
    counts = plane[1:].reshape(16, BINS)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.control.drift.observing_process", str(folder), str(plane_file)],
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "reads\n"
            # Until it has closed a few minutes, and then at any moment of the next one.
            stop_at = int(plane[0]) + 40 + int(random.integers(0, 32))
            deadline = time.monotonic() + 60
            while int(plane[0]) < stop_at:
                assert process.poll() is None
                assert time.monotonic() < deadline
                counts[random.integers(0, 16), random.integers(0, BINS)] += random.integers(1, 50)
        finally:
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        counts[3, 4] += 7  # while nobody reads
    clock = Clock(MONDAY + (int(plane[0]) + 1) * SLICE_NS)
    observed = Observed(store_in(folder), clock)
    observed.observe([])
    last = seat(0, bins=BINS)
    last.counts[:] = counts
    observed.observe([last])
    observed.book.save_everything()
    assert observed.store.flush(WAIT_S)
    kept = observed.store.windows(Stream(MODEL, DIGEST), WindowKind.MINUTE)
    check_sequence(kept)
    assert len(kept) >= 12
    assert sum(window.longer for window in kept) <= 6
    for kind in KINDS:
        progress = observed.book.in_progress(MODEL, DIGEST, kind)
        closed = observed.store.windows(Stream(MODEL, DIGEST), kind)
        total = total_of([*closed, *([] if progress is None else [progress])], BINS)
        assert (total == counts.sum(axis=0)).all(), kind
    assert observed.book.resets == 0
    observed.store.close(WAIT_S)
