"""Rows that a worker has answered are in the plane's counts, each once, whichever way they came and ran."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from benchmarks.rollouts.canaries import STEPS_ENDLESS, failing, looping
from benchmarks.swaps.versions import NAME, WIDTH, Versions, scaled
from native.plane.drift import DriftReader
from native.plane.layout import WorkerState
from native.plane.routes import SeatRef
from native.plane.routing import PPM
from registry_client.baseline.document import ARGMAX, Baseline, Feature, Kind
from server.settings import BatchingSettings, DriftSettings, TrialSettings
from tests.behaviour.messages import infer_request
from tests.behaviour.worker_process import LISTENERS
from tests.oracles.binning import counts_of
from tests.worker.bad_versions import THRESHOLD, alone
from tests.worker.operated import FIRST, OperatedWorker, asked, predict

Array = np.ndarray
EDGES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
FEATURES = (
    *(Feature(f"x{column}", "x", column, Kind.NUMBER, EDGES, (10,) * 10) for column in range(WIDTH)),
    Feature("y0", "y", 0, Kind.NUMBER, EDGES, (10,) * 10),
    Feature("largest", "y", ARGMAX, Kind.CATEGORY, tuple(map(float, range(WIDTH))), (10,) * (WIDTH + 3)),
)
BASELINE = Baseline(100, 0.0, FEATURES[:WIDTH], FEATURES[WIDTH:])
BINS = sum(len(feature.counts) for feature in FEATURES)


def values(rows: int, seed: int = 1) -> Array:
    found = np.random.default_rng(seed).normal(size=(rows, WIDTH)).astype(np.float32)
    found[::5, 0] = np.nan
    return found


def expected(x: Array, factor: int) -> Array:
    """Counts over all buckets."""
    y = x * np.float32(factor)
    return counts_of(FEATURES, {"x": x, "y": y}, np.zeros(len(x), dtype=np.int64)).sum(axis=0)


class Counting:
    """A worker whose versions have baselines, and what it has counted."""

    def __init__(self, worker: OperatedWorker, channel: grpc.Channel) -> None:
        self.worker = worker
        self.channel = channel
        self._reader = DriftReader(worker.plane)

    def load(self, make: Callable[[int], bytes], factor: int) -> SeatRef:
        return self.worker.load(self.worker.versions.push(make(factor), factor, baseline=BASELINE))

    def counts(self, ref: SeatRef) -> Array:
        """int64[16, BINS]."""
        found = self._reader.read(ref.seat, ref.generation, BINS)
        return np.zeros((16, BINS), np.int64) if found is None else found

    def becomes(self, ref: SeatRef, wanted: Array) -> None:
        """Rows are counted after they were answered: a moment later."""
        self.worker.until(lambda: bool((self.counts(ref).sum(axis=0) == wanted).all()), "counted", 10)

    def ask(self, x: Array, **fields: str) -> None:
        predict(self.channel)(asked(x, **fields), timeout=30)


@pytest.fixture(scope="module", params=LISTENERS)
def counting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    folder = tmp_path_factory.mktemp("counting")
    versions = Versions(folder)
    versions.push(scaled(1), 1, ("stable",), BASELINE)
    sections = {"trial": TrialSettings(watchdog_ms=300), "batching": BatchingSettings(max_batch_size=64)}
    with OperatedWorker(request.param, versions, folder, **sections) as worker, worker.channel() as channel:
        yield Counting(worker, channel)


def test_rows_of_both_protocols_and_of_any_number_are_counted_once(counting: Counting) -> None:
    before = counting.counts(FIRST).sum(axis=0)
    asked_for = [values(rows, rows) for rows in (1, 2, 7, 64, 200)]
    for x in asked_for:
        counting.ask(x)
    infer = counting.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    for raw in (True, False):
        infer(infer_request(NAME, {"x": asked_for[2]}, raw=raw).SerializeToString(), timeout=30)
    rows = np.concatenate([*asked_for, asked_for[2], asked_for[2]])
    counting.becomes(FIRST, before + expected(rows, 1))


def test_rows_of_one_key_are_in_one_bucket_and_keys_are_spread(counting: Counting) -> None:
    before = counting.counts(FIRST)
    for _ in range(3):
        counting.ask(values(4), routing_key="somebody")
    counting.becomes(FIRST, before.sum(axis=0) + 3 * expected(values(4), 1))
    added = (counting.counts(FIRST) - before).sum(axis=1)
    assert sorted(added.tolist()) == [0] * 15 + [12 * len(FEATURES)]
    for number in range(64):
        counting.ask(values(1), routing_key=f"key {number}")
    counting.worker.until(
        lambda: int((counting.counts(FIRST) - before).sum()) == (12 + 64) * len(FEATURES), "counted", 10
    )
    assert np.count_nonzero((counting.counts(FIRST) - before).sum(axis=1)) > 10


def test_a_canarys_rows_are_its_own_and_a_shadows_too(counting: Counting) -> None:
    canary, shadow = counting.load(scaled, 2), counting.load(scaled, 3)
    before = counting.counts(FIRST).sum(axis=0)
    counting.worker.route(FIRST, canary=canary, canary_ppm=PPM)
    counting.ask(values(20))
    counting.becomes(canary, expected(values(20), 2))
    counting.worker.route(FIRST, shadow=shadow)
    counting.ask(values(30, 2))
    counting.becomes(FIRST, before + expected(values(30, 2), 1))
    counting.becomes(shadow, expected(values(30, 2), 3))
    counting.worker.route(FIRST)


def beside(counting: Counting, canary: SeatRef) -> Array:
    """int64[bins of the predictions]: of the canary's rows, by the bins of FIRST's baseline."""
    bins = sum(len(feature.counts) for feature in FEATURES[WIDTH:])
    found = DriftReader(counting.worker.plane).read_beside(0, canary, FIRST, bins)
    return np.zeros(bins, np.int64) if found is None else found.sum(axis=0)


@pytest.mark.parametrize("factor", [2, 3])  # the second takes the region over from the first
def test_a_canarys_answers_are_counted_by_its_stables_bins_too(counting: Counting, factor: int) -> None:
    others = tuple(replace(feature, points=tuple(point + 0.3 for point in EDGES)) for feature in FEATURES[WIDTH:-1])
    own = replace(BASELINE, predictions=(*others, FEATURES[-1]))
    canary = counting.worker.load(counting.worker.versions.push(scaled(factor), factor, baseline=own))
    counting.worker.route(FIRST, canary=canary, canary_ppm=PPM)
    asked_for = 0

    def is_counted() -> bool:
        nonlocal asked_for
        counting.ask(values(1))
        asked_for += 1
        return bool(beside(counting, canary).any())

    # It is seen a moment after the route has moved, and until then it is not counted there.
    counting.worker.until(is_counted, "counted beside", 10)
    before = beside(counting, canary)
    assert before.sum() <= asked_for * (len(FEATURES) - WIDTH)
    wanted = before + expected(values(50, factor), factor)[WIDTH * 10 :]
    counting.ask(values(50, factor))
    counting.worker.until(lambda: bool((beside(counting, canary) == wanted).all()), "counted", 10)
    counting.worker.route(FIRST)
    counting.ask(values(20))
    assert (beside(counting, canary) == wanted).all(), "nobody is its canary any more"


def test_rows_of_a_version_that_runs_calls_by_themselves_are_counted(counting: Counting) -> None:
    ref = counting.load(alone, 2)
    counting.worker.route(ref)
    one = values(1, 3)
    for _ in range(3):
        counting.ask(one, routing_key="somebody")
    counting.becomes(ref, 3 * expected(one, 2))
    assert np.count_nonzero(counting.counts(ref).sum(axis=1)) == 1
    counting.worker.route(FIRST)


def test_rows_that_failed_or_never_ended_are_not_counted_and_their_neighbours_are(counting: Counting) -> None:
    fails, hangs = counting.load(failing, 2), counting.load(lambda factor: looping(factor, STEPS_ENDLESS), 2)
    bad = np.full((1, WIDTH), THRESHOLD, np.float32)
    for ref, code in ((fails, grpc.StatusCode.INVALID_ARGUMENT), (hangs, grpc.StatusCode.UNAVAILABLE)):
        counting.worker.route(FIRST, canary=ref, canary_ppm=PPM)
        with pytest.raises(grpc.RpcError) as refused:
            counting.ask(bad)
        assert refused.value.code() in (code, grpc.StatusCode.INTERNAL)
        counting.ask(values(5))
        counting.becomes(ref, expected(values(5), 2))
    counting.worker.route(FIRST)


# --- Workers of their own -------------------------------------------------------------------------------------------
def test_counts_outlive_the_worker_that_made_them(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.push(scaled(1), 1, ("stable",), BASELINE)
    worker = OperatedWorker("fast", versions, tmp_path)
    worker.start()
    try:
        worker.wait_for(WorkerState.READY)
        with worker.channel() as channel:
            counting = Counting(worker, channel)
            counting.ask(values(50))
            counting.becomes(FIRST, expected(values(50), 1))
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        worker.generation += 1
        worker.start()
        worker.wait_for(WorkerState.READY)
        with worker.channel() as channel:
            Counting(worker, channel).ask(values(50, 2))
            counting.becomes(FIRST, expected(values(50), 1) + expected(values(50, 2), 1))
    finally:
        worker.stop()
        worker.close()


def test_nothing_is_counted_where_that_is_off(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.push(scaled(1), 1, ("stable",), BASELINE)
    with OperatedWorker("fast", versions, tmp_path, drift=DriftSettings(count=False)) as worker:
        with worker.channel() as channel:
            predict(channel)(asked(values(5)), timeout=30)
        assert DriftReader(worker.plane).read(0, 1, BINS) is None
