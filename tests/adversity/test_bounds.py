"""What a connection and a worker hold is bounded: one more is refused at once, in words, and counted; what is held
goes on. Each refusal is shown to be its limit's by the same calls to a worker whose limits are out of reach."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.adversity.attacked_worker import AttackedWorker, Workers, small_limits
from tests.adversity.raw_peer import (
    DATA,
    END_STREAM,
    INITIAL_WINDOW_SIZE,
    RST_STREAM,
    SETTINGS,
    Answer,
    RawPeer,
    call_headers,
    frame,
    setting,
)

RESOURCE_EXHAUSTED = 8
CANCEL = struct.pack(">I", 8)

# What peers do, and all of the answers to it that are there without waiting for a limit's time.
Load = Callable[[AttackedWorker, ExitStack], list[Answer]]


def peers(worker: AttackedWorker, stack: ExitStack, count: int) -> list[RawPeer]:
    return [stack.enter_context(worker.peer()) for _ in range(count)]


def many_metadata_bytes(worker: AttackedWorker, stack: ExitStack) -> list[Answer]:
    (peer,) = peers(worker, stack, 1)
    return [peer.ask(worker.mlp_call(), [*call_headers(), ("x-long", "x" * 2500)])]


def many_metadata(worker: AttackedWorker, stack: ExitStack) -> list[Answer]:
    (peer,) = peers(worker, stack, 1)
    return [peer.ask(worker.mlp_call(), [*call_headers(), *((f"x{at}", "") for at in range(30))])]


def long_message(worker: AttackedWorker, stack: ExitStack) -> list[Answer]:
    (peer,) = peers(worker, stack, 1)
    message = b"\xf2\x3f" + b"\x80\x80\x14" + bytes(20 << 14)  # a field that nobody knows, 320 KiB
    call = worker.mlp_call()
    return [peer.ask(struct.pack(">BI", 0, len(call) - 5 + len(message)) + call[5:] + message)]


def assembling(worker: AttackedWorker, stack: ExitStack, connections: int, calls: int) -> list[Answer]:
    """Calls that announce 250 KiB each, send nothing, and are cut short at last."""
    opened = []
    for peer in peers(worker, stack, connections):
        for _ in range(calls):
            stream, opening = peer.open()
            peer.send(opening, frame(DATA, 0, stream, struct.pack(">BI", 0, 250 * 1024)))
            opened.append((peer, stream))
        assert peer.is_served()
    for peer, stream in opened:
        if not peer.so_far(stream).is_over:
            peer.send(frame(DATA, END_STREAM, stream))
    return [peer.answer(stream) for peer, stream in opened]


def assembling_on_one(worker: AttackedWorker, stack: ExitStack) -> list[Answer]:
    return assembling(worker, stack, 1, 3)


def assembling_on_many(worker: AttackedWorker, stack: ExitStack) -> list[Answer]:
    return assembling(worker, stack, 3, 2)


def queued_rows(worker: AttackedWorker, stack: ExitStack) -> list[Answer]:
    """384 rows in one read of the socket."""
    (peer,) = peers(worker, stack, 1)
    sent, streams = [], []
    for _ in range(6):
        stream, opening = peer.open()
        sent += [opening, frame(DATA, END_STREAM, stream, worker.lookup_call(64))]
        streams.append(stream)
    peer.send(*sent)
    return [peer.answer(stream) for stream in streams]


def handed(worker: AttackedWorker, stack: ExitStack) -> list[Answer]:
    opened = [(peer, peer.call(worker.slow_call(100))) for peer in peers(worker, stack, 3) for _ in range(5)]
    return [peer.answer(stream) for peer, stream in opened]


def executing(worker: AttackedWorker, stack: ExitStack) -> list[Answer]:
    """Calls that are reset as soon as they are whole still count as long as they are in work."""
    (peer,) = peers(worker, stack, 1)
    sent = []
    for _ in range(6):
        stream, opening = peer.open()
        sent += [opening, frame(DATA, END_STREAM, stream, worker.slow_call(300))]
        sent.append(frame(RST_STREAM, 0, stream, CANCEL))
    stream, opening = peer.open()
    peer.send(*sent, opening, frame(DATA, END_STREAM, stream, worker.mlp_call()))
    return [peer.answer(stream)]


LOADS: dict[str, tuple[Load, str | None, str]] = {
    "bytes of metadata": (many_metadata_bytes, None, "metadata: longer than limits.header_bytes_max"),
    "metadata": (many_metadata, None, "metadata: longer than limits.header_bytes_max"),
    "bytes of a message": (long_message, "REFUSAL_MESSAGE_TOO_LONG", "message: longer than limits.message_bytes_max"),
    "messages of a connection": (assembling_on_one, "REFUSAL_ASSEMBLING_BYTES", "message: too many bytes"),
    "messages of a worker": (assembling_on_many, "REFUSAL_ASSEMBLING_BYTES", "message: too many bytes"),
    "rows in a queue": (queued_rows, "REFUSAL_QUEUE_FULL", "model: its queue is full"),
    "calls with servicers": (handed, "REFUSAL_HANDOFFS_FULL", "call: too many calls wait"),
    "calls in work": (executing, "REFUSAL_TOO_MANY_STREAMS", "call: too many calls of this connection"),
}


@pytest.mark.parametrize("load", LOADS)
def test_what_is_over_a_bound_is_refused_at_once_and_the_rest_goes_on(worker: AttackedWorker, load: str) -> None:
    make, counter, text = LOADS[load]
    with worker.raises_count(*([counter] if counter else [])), ExitStack() as stack:
        answers = make(worker, stack)
    refused = [answer for answer in answers if answer.status == RESOURCE_EXHAUSTED]
    assert refused
    assert all(answer.text.startswith(text) for answer in refused), refused
    assert all(answer.status is not None for answer in answers)
    assert len(refused) < max(len(answers), 2)


@pytest.mark.parametrize("load", LOADS)
def test_nothing_is_refused_where_the_bound_is_out_of_reach(roomy: AttackedWorker, load: str) -> None:
    make, counter, _ = LOADS[load]
    with roomy.keeps_count(*([counter] if counter else [])), ExitStack() as stack:
        answers = make(roomy, stack)
    assert all(answer.status is not None and answer.status != RESOURCE_EXHAUSTED for answer in answers), answers


def test_calls_that_were_reset_in_work_stop_counting_when_it_ends(worker: AttackedWorker) -> None:
    with ExitStack() as stack:
        (answer,) = executing(worker, stack)
        assert answer.status == RESOURCE_EXHAUSTED
        (peer,) = peers(worker, stack, 1)
        worker.verify(peer)  # another connection was never affected
    assert worker.eventually(lambda: worker.count("SLOTS_IN_USE") == 0)


# --- Slots and connections: the neighbour needs one of each, so these do without it ----------------------------------


@pytest.fixture
def crowded(attacked_workers: Workers) -> Iterator[AttackedWorker]:
    attacked = attacked_workers.get(**small_limits())
    attacked.settles()
    yield attacked
    attacked.settles()


def unread_replies(worker: AttackedWorker, stack: ExitStack) -> list[tuple[RawPeer, int]]:
    """36 replies whose windows are shut."""
    opened = []
    for peer in peers(worker, stack, 6):
        peer.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)))
        opened += [(peer, peer.call(worker.mlp_call())) for _ in range(6)]
        assert peer.is_served()
    return opened


def test_one_call_more_than_there_are_slots_is_refused(crowded: AttackedWorker) -> None:
    with crowded.raises_count("REFUSAL_SLOTS_FULL"), ExitStack() as stack:
        opened = unread_replies(crowded, stack)
        refused = [peer.so_far(stream) for peer, stream in opened if peer.so_far(stream).is_over]
        assert len(refused) == len(opened) - 32
        assert {answer.status for answer in refused} == {RESOURCE_EXHAUSTED}
        assert all(answer.text.startswith("call: all slots") for answer in refused)
        for peer, _ in opened[::6]:
            peer.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 65535)))
        answers = [peer.answer(stream) for peer, stream in opened]
        assert sum(answer.status == 0 for answer in answers) == 32


def test_36_calls_have_slots_where_their_bound_is_out_of_reach(roomy: AttackedWorker) -> None:
    with roomy.keeps_count("REFUSAL_SLOTS_FULL"), ExitStack() as stack:
        opened = unread_replies(roomy, stack)
        assert not any(peer.so_far(stream).is_over for peer, stream in opened)


def test_one_connection_too_many_is_closed_and_the_others_are_served(crowded: AttackedWorker) -> None:
    with crowded.raises_count("CUTOFF_CONNECTIONS_MAX"), ExitStack() as stack:
        served = peers(crowded, stack, 24)
        for peer in served:
            crowded.verify(peer)
        (one_more,) = peers(crowded, stack, 1)
        assert one_more.is_closed()
        served.pop().close()
        assert crowded.eventually(lambda: crowded.count("CONNECTIONS") == 23)
        served += peers(crowded, stack, 1)
        for peer in served:
            crowded.verify(peer)


def test_25_connections_are_served_where_their_bound_is_out_of_reach(roomy: AttackedWorker) -> None:
    with roomy.keeps_count("CUTOFF_CONNECTIONS_MAX"), ExitStack() as stack:
        for peer in peers(roomy, stack, 25):
            roomy.verify(peer)
