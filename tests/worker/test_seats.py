"""A worker and its seats: what the plane wants is loaded, what it wants no more goes, and each state is told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import grpc
import pytest

from benchmarks.swaps.versions import Versions
from native.plane.routing import SEAT_STATE_EMPTY, SEAT_STATE_FAILED, SEAT_STATE_READY
from tests.worker.bad_versions import alone
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


def damage(worker: OperatedWorker, version: int) -> None:
    """Turns a bit over in the model of a version that nothing has asked for yet."""
    path = worker.versions.root / "bundles" / worker.versions.digests[version] / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


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


def test_a_model_whose_rows_share_no_batch_leaves_too(worker: OperatedWorker) -> None:
    worker.vacate(worker.load(worker.versions.push(alone(1), 1)))


def test_what_cant_be_loaded_is_told_why_and_its_seat_is_free_again(
    worker: OperatedWorker, channel: grpc.Channel
) -> None:
    damage(worker, 4)
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
