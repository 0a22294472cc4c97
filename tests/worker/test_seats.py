"""A worker and its seats: what the plane wants is loaded, what it wants no more goes, and each state is told."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from benchmarks.rollouts.canaries import looping
from benchmarks.swaps.versions import Versions
from native.plane.layout import WorkerState
from native.plane.routes import Route
from native.plane.routing import (
    EPOCH,
    HUNG_GENERATION,
    HUNG_SEAT,
    PPM,
    RUNNING_TRIAL,
    RUNNING_TRIAL_GENERATION,
    SEAT_STATE_EMPTY,
    SEAT_STATE_FAILED,
    SEAT_STATE_READY,
)
from server.processes import EXIT_HUNG, EXIT_REFUSED
from server.settings import ModelSettings, TrialSettings
from server.worker.seats import LOOKS_BEFORE_LEAVING
from tests.behaviour.messages import predict_request
from tests.worker.bad_versions import alone, endless_alone
from tests.worker.onnx_graphs import doubled, written
from tests.worker.operated import FIRST, OperatedWorker, asked, factor_in, predict

SWAPS = 40
SETTLED_AFTER = 10  # swaps, by which memory has its size
RSS_GROWTH_MAX = 1.1
CALLERS = 4


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatedWorker]:
    folder = tmp_path_factory.mktemp("seats")
    versions = Versions(folder)
    versions.push_scaled(4)
    with OperatedWorker("fast", versions, folder) as worker:
        yield worker


@pytest.fixture(scope="module")
def channel(worker: OperatedWorker) -> Iterator[grpc.Channel]:
    with worker.channel() as channel:
        yield channel


def ask(channel: grpc.Channel, **fields: str) -> tuple[str, float]:
    reply = predict(channel)(asked(**fields), timeout=20)
    return reply.version, factor_in(reply)


def damaged(worker: OperatedWorker, version: int) -> Path:
    """The model's file of a version that nothing has asked for yet, with one bit turned over."""
    path = worker.versions.root / "bundles" / worker.versions.digests[version] / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    return path


def test_a_version_is_loaded_beside_traffic_and_answers_once_it_is_routed(
    worker: OperatedWorker, channel: grpc.Channel
) -> None:
    ref = worker.load(2)
    assert ask(channel) == ("1", 1.0)
    worker.route(ref)
    assert ask(channel) == ("2", 2.0)
    worker.route(FIRST)
    worker.vacate(ref)
    assert ask(channel) == ("1", 1.0)


def test_a_seat_that_is_wanted_no_more_stays_as_long_as_a_route_names_it(
    worker: OperatedWorker, channel: grpc.Channel
) -> None:
    ref = worker.load(2)
    worker.route(ref)
    worker.seats.vacate(ref.seat)
    for _ in range(50):
        assert ask(channel) == ("2", 2.0)
    assert worker.told.state(ref.seat) == (SEAT_STATE_READY, ref.generation)
    worker.route(FIRST)
    worker.until(lambda: worker.told.state(ref.seat)[0] == SEAT_STATE_EMPTY, "left")


def test_nothing_leaves_by_routes_that_can_not_be_read_and_all_goes_on_once_they_can(
    worker: OperatedWorker, channel: grpc.Channel
) -> None:
    ref = worker.load(2)
    worker.route(ref)
    worker.plane.routing[EPOCH] += 1  # of a table that nobody has written
    worker.seats.vacate(ref.seat)
    worker.until(lambda: worker.log.read_text().count("expected a whole table") > LOOKS_BEFORE_LEAVING + 1, "told so")
    assert worker.told.state(ref.seat) == (SEAT_STATE_READY, ref.generation)
    assert ask(channel) == ("2", 2.0)
    worker.route(FIRST)
    worker.until(lambda: worker.told.state(ref.seat)[0] == SEAT_STATE_EMPTY, "left")
    assert ask(channel) == ("1", 1.0)


def test_a_model_whose_rows_share_no_batch_leaves_too(worker: OperatedWorker) -> None:
    worker.vacate(worker.load(worker.versions.push(alone(1), 1)))


def test_what_cant_be_loaded_is_told_why_and_its_seat_is_free_again(
    worker: OperatedWorker, channel: grpc.Channel
) -> None:
    damaged(worker, 4)
    ref = worker.fill(4)
    worker.until(lambda: worker.told.state(ref.seat) == (SEAT_STATE_FAILED, ref.generation), "refused")
    seat, generation, text = worker.told.failure()
    assert (seat, generation) == (ref.seat, ref.generation)
    assert text.startswith("model scaled: ")
    assert ask(channel) == ("1", 1.0)
    worker.vacate(ref)
    assert worker.seats.free_index() == ref.seat


def test_a_version_that_was_banned_is_never_loaded(worker: OperatedWorker) -> None:
    index = worker.seats.free_index()
    assert index is not None
    worker.seats.ban(index, worker.seats.read()[index].generation + 1)
    ref = worker.fill(2)
    worker.until(lambda: worker.told.state(ref.seat) == (SEAT_STATE_FAILED, ref.generation), "refused")
    assert "has ended a worker" in worker.told.failure()[2]
    worker.vacate(ref)
    again = worker.load(2)
    assert again.generation > ref.generation, "the next artifact of the seat is another matter"
    worker.vacate(again)


def test_swaps_under_load_fail_no_call_answer_none_wrongly_and_keep_no_memory(worker: OperatedWorker) -> None:
    stop = threading.Event()
    answered: Counter[str] = Counter()
    wrong: list[object] = []

    def keep_asking() -> None:
        with worker.channel() as channel:
            while not stop.is_set():
                try:
                    version, factor = ask(channel)
                except grpc.RpcError as error:
                    wrong.append(error)
                    return
                answered[version] += 1
                if factor != worker.versions.factors[int(version)]:
                    wrong.append((version, factor))

    callers = [threading.Thread(target=keep_asking) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    settled_bytes, serving = 0, FIRST
    for swap in range(SWAPS):
        ref = worker.load(2 + swap % 2)
        worker.route(ref)
        if serving != FIRST:
            worker.vacate(serving)
        serving = ref
        if swap == SETTLED_AFTER:
            settled_bytes = worker.resident_bytes()
    grown = worker.resident_bytes() / settled_bytes
    stop.set()
    for caller in callers:
        caller.join()
    worker.route(FIRST)
    worker.vacate(serving)
    assert wrong == []
    assert {"2", "3"} <= answered.keys()
    assert sum(answered.values()) > SWAPS
    assert grown < RSS_GROWTH_MAX


# --- Workers of their own ---------------------------------------------------------------------------------------


def test_a_worker_that_dies_while_it_loads_has_named_what_it_was(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.push_scaled(1)
    version = versions.push(looping(2, 3000), 2)
    worker = OperatedWorker("grpcio", versions, tmp_path).start()
    assert worker.process is not None
    worker.wait_for(WorkerState.READY)
    running = worker.plane.block(0).routing
    assert running[RUNNING_TRIAL] == 0, "what was loaded first is named no more"
    ref = worker.fill(version)
    while running[RUNNING_TRIAL] == 0:
        assert worker.told.state(ref.seat)[0] != SEAT_STATE_READY
    worker.process.send_signal(signal.SIGSEGV)
    assert worker.process.wait(20) == -signal.SIGSEGV
    assert (running[RUNNING_TRIAL] - 1, running[RUNNING_TRIAL_GENERATION]) == (ref.seat, ref.generation)
    worker.close()


def with_another(tmp_path: Path) -> OperatedWorker:
    """A worker whose registry's artifact is damaged, and which serves a bare file beside it."""
    versions = Versions(tmp_path)
    versions.push_scaled(1)
    other = ModelSettings(name="other", onnx=written(tmp_path, doubled()))
    return OperatedWorker("grpcio", versions, tmp_path, other)


def test_a_stable_that_is_refused_at_a_servers_start_ends_it(tmp_path: Path) -> None:
    worker = with_another(tmp_path)
    damaged(worker, 1)
    worker.start()
    assert worker.process is not None
    assert worker.process.wait(60) == EXIT_REFUSED
    worker.close()


def test_a_stable_that_is_refused_at_a_restart_keeps_the_others_serving_and_is_tried_again(tmp_path: Path) -> None:
    worker = with_another(tmp_path)
    worker.generation = 2
    path = damaged(worker, 1)
    with worker, worker.channel() as channel:
        other = predict_request("other", {"x": np.ones((1, 4), np.float32)})
        assert predict(channel)(other, timeout=20).version == "0"
        with pytest.raises(grpc.RpcError) as refused:
            ask(channel)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert worker.told.state(0) == (SEAT_STATE_FAILED, 1)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        worker.until(lambda: worker.told.state(0) == (SEAT_STATE_READY, 1), "mended")
        assert ask(channel) == ("1", 1.0)


def test_a_worker_that_is_started_again_holds_all_that_routes_name_before_it_is_ready(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.push_scaled(2)
    worker = OperatedWorker("grpcio", versions, tmp_path)
    worker.generation = 2
    canary = worker.fill(2)
    worker.tables.publish([Route(stable=FIRST, canary=canary, canary_ppm=PPM)])
    with worker, worker.channel() as channel:
        assert worker.state is WorkerState.READY
        assert worker.told.state(canary.seat) == (SEAT_STATE_READY, canary.generation)
        assert ask(channel) == ("2", 2.0)


def test_a_load_that_never_ends_gives_the_worker_up_and_a_stop_does_not_wait_for_one(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.push_scaled(1)
    # Some of the numbers that a model is tried with are over the threshold, none of them is whole.
    version = versions.push(endless_alone(2, only_whole=False), 2)
    worker = OperatedWorker("grpcio", versions, tmp_path, trial=TrialSettings(load_timeout_s=1.0))
    block = worker.plane.block(0).routing
    for stopped in (False, True):
        worker.start()
        worker.wait_for(WorkerState.READY)
        ref = worker.fill(version)
        worker.until(lambda: int(block[RUNNING_TRIAL]) == ref.seat + 1, "loading")  # noqa: B023
        assert worker.process is not None
        if stopped:
            assert worker.stop() == 0
        else:
            assert worker.process.wait(20) == EXIT_HUNG
            assert (int(block[HUNG_SEAT]), int(block[HUNG_GENERATION])) == (ref.seat, ref.generation)
        worker.seats.vacate(ref.seat)
    worker.close()
