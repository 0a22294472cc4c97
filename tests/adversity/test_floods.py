"""Whatever costs a peer little and the server much is bounded: each flood is cut off, under a counter of its own.

Every flood is also sent to a worker whose limits are out of reach and is not cut off there: so the limit did it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tests.adversity.attacked_worker import AttackedWorker
from tests.adversity.raw_peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    RawPeer,
    call_headers,
    frame,
    setting,
)

CANCEL, WIDEST = struct.pack(">I", 8), struct.pack(">I", 0x7FFFFFFF)

Flood = Callable[[AttackedWorker, RawPeer], None]


def empty_data(worker: AttackedWorker, peer: RawPeer) -> None:
    stream, opening = peer.open()
    peer.send(opening, frame(DATA, 0, stream) * 150)


def padding_only(worker: AttackedWorker, peer: RawPeer) -> None:
    stream, opening = peer.open()
    peer.send(opening, frame(DATA, 8, stream, b"\x07" + bytes(7)) * 150)


def priorities(worker: AttackedWorker, peer: RawPeer) -> None:
    peer.send(*(frame(PRIORITY, 0, 1 + 2 * (at % 20), struct.pack(">IB", 0, 1)) for at in range(150)))


def provoked_resets(worker: AttackedWorker, peer: RawPeer) -> None:
    for _ in range(60):
        stream, opening = peer.open()
        peer.send(opening, frame(WINDOW_UPDATE, 0, stream, WIDEST))
        peer.answer(stream)


def resets(worker: AttackedWorker, peer: RawPeer) -> None:
    for _ in range(40):
        pairs: list[bytes] = []
        for _ in range(10):
            stream, opening = peer.open()
            pairs += [opening, frame(RST_STREAM, 0, stream, CANCEL)]
        peer.send(*pairs)


def long_headers(worker: AttackedWorker, peer: RawPeer) -> None:
    _, opening = peer.open([*call_headers(), ("x-long", "x" * 9000)])
    peer.send(opening)


def many_headers(worker: AttackedWorker, peer: RawPeer) -> None:
    _, opening = peer.open([*call_headers(), *((f"x{at}", "") for at in range(160))])
    peer.send(opening)


def header_references(worker: AttackedWorker, peer: RawPeer) -> None:
    """A kilobyte of references to a header of 3 KiB: 3 MiB once decoded."""
    stream, opening = peer.open([*call_headers(), ("x-bomb", "x" * 1500)])
    peer.send(opening, frame(RST_STREAM, 0, stream, CANCEL))
    # The newest entry of the table has index 62.
    bomb = peer.block(call_headers()) + b"\xbe" * 1000
    peer.send(frame(HEADERS, END_HEADERS | END_STREAM, peer.stream(), bomb))


def replies_in_a_row(worker: AttackedWorker, peer: RawPeer) -> None:
    peer.send(frame(PING, 0, 0, bytes(8)) * 700)


def replies_not_read(worker: AttackedWorker, peer: RawPeer) -> None:
    """Replies of 128 KiB that wait for a window, up to 768 KiB, of which no byte is taken for a while."""
    peer.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)))
    for _ in range(3):
        peer.call(worker.wide_call(8))
    time.sleep(0.7)
    for _ in range(3):
        peer.call(worker.wide_call(8))


FLOODS: dict[str, tuple[Flood, str]] = {
    "empty DATA": (empty_data, "CUTOFF_EMPTY_DATA_FRAMES"),
    "padding": (padding_only, "CUTOFF_EMPTY_DATA_FRAMES"),
    "PRIORITY": (priorities, "CUTOFF_PRIORITY_FRAMES"),
    "provoked resets": (provoked_resets, "CUTOFF_RESETS_SENT"),
    "resets": (resets, "CUTOFF_PROTOCOL_ERROR"),
    "a long header": (long_headers, "CUTOFF_HEADER_BYTES"),
    "many headers": (many_headers, "CUTOFF_HEADER_COUNT"),
    "references to a header": (header_references, "CUTOFF_HEADER_BYTES"),
    "frames to answer": (replies_in_a_row, "CUTOFF_OUTBOUND_FRAMES"),
    "replies not read": (replies_not_read, "CUTOFF_REPLY_BYTES"),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_cut_off_and_counted_by_its_name(worker: AttackedWorker, flood: str) -> None:
    send, counter = FLOODS[flood]
    with worker.raises_count(counter), worker.peer() as peer:
        send(worker, peer)
        assert peer.is_closed()


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_not_cut_off_where_its_limit_is_out_of_reach(roomy: AttackedWorker, flood: str) -> None:
    send, counter = FLOODS[flood]
    with roomy.keeps_count(counter), roomy.peer() as peer:
        send(roomy, peer)
        assert peer.is_served()


ENDLESS: dict[str, bytes] = {
    "PING": frame(PING, 0, 0, bytes(8)),
    "SETTINGS": frame(SETTINGS),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_libnghttp2_ends_a_flood_of_frames_to_acknowledge(roomy: AttackedWorker, kind: str) -> None:
    """Here the lane's own bound is out of reach."""
    with roomy.raises_count("CUTOFF_PROTOCOL_ERROR"), roomy.peer() as peer:
        peer.send(ENDLESS[kind] * 4000)
        assert peer.is_closed()


def test_pings_at_their_own_pace_are_no_flood(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        assert all(peer.is_served() for _ in range(1500))


def test_libnghttp2_ends_a_flood_of_continuations(roomy: AttackedWorker) -> None:
    with roomy.raises_count("CUTOFF_PROTOCOL_ERROR"), roomy.peer() as peer:
        peer.send(frame(HEADERS, 0, 1, peer.block(call_headers())), frame(CONTINUATION, 0, 1) * 1000)
        assert peer.is_closed()


# --- Silence ---------------------------------------------------------------------------------------------------------


def mute(worker: AttackedWorker) -> RawPeer:
    """A peer that never acknowledges SETTINGS."""
    peer = worker.peer(hello=False)
    peer.send(PREFACE, frame(SETTINGS))
    return peer


def never_reads(worker: AttackedWorker) -> RawPeer:
    """A peer whose window is wide open and whose socket is full."""
    peer = worker.peer(receive_buffer_bytes=4096)
    peer.send(
        frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0x7FFFFFFF)),
        frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF - 65535)),
    )
    for _ in range(70):
        peer.call(worker.wide_call(8))
        time.sleep(0.005)
    return peer


SILENT: dict[str, tuple[Callable[[AttackedWorker], RawPeer], str]] = {
    "never acknowledges SETTINGS": (mute, "CUTOFF_SETTINGS_ACK_TIMEOUT"),
    "never reads": (never_reads, "CUTOFF_STALLED_REPLY"),
}


@pytest.mark.parametrize("peer", SILENT)
def test_a_silent_peer_is_cut_off_in_time(worker: AttackedWorker, peer: str) -> None:
    make, counter = SILENT[peer]
    before, count = time.monotonic(), worker.count(counter)
    with make(worker) as silent:
        assert worker.eventually(lambda: worker.count(counter) > count)
        assert worker.eventually(lambda: worker.count("CONNECTIONS") <= 1)
        assert time.monotonic() - before < 8
        assert silent.is_closed()


@pytest.fixture
def silent_peers(roomy: AttackedWorker) -> Iterator[dict[str, RawPeer]]:
    peers = {name: make(roomy) for name, (make, _) in SILENT.items()}
    yield peers
    for peer in peers.values():
        peer.close()


def test_silence_is_borne_where_its_limits_are_out_of_reach(
    roomy: AttackedWorker, silent_peers: dict[str, RawPeer]
) -> None:
    with roomy.keeps_count(*(counter for _, counter in SILENT.values())):
        time.sleep(3.2)  # more than the other worker's timeout and two ticks
    for name, peer in silent_peers.items():
        assert peer.is_served(), name


def test_a_reply_whose_window_stays_shut_is_reset_and_its_connection_goes_on(worker: AttackedWorker) -> None:
    with worker.raises_count("CUTOFF_STALLED_REPLY"), worker.peer() as peer:
        peer.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)))
        stream = peer.call(worker.wide_call(1))
        assert peer.answer(stream).reset == 8
        peer.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 65535)))
        worker.verify(peer)


def test_a_request_that_never_ends_is_reset_and_its_connection_goes_on(worker: AttackedWorker) -> None:
    with worker.raises_count("CUTOFF_STALLED_REQUEST"), worker.peer() as peer:
        stream, opening = peer.open()
        peer.send(opening, frame(DATA, 0, stream, worker.mlp_call()[:50]))
        assert peer.answer(stream).reset == 8
        worker.verify(peer)


def test_stalled_calls_are_left_alone_where_the_limit_is_out_of_reach(roomy: AttackedWorker) -> None:
    counters = "CUTOFF_STALLED_REPLY", "CUTOFF_STALLED_REQUEST"
    call = roomy.mlp_call()
    with roomy.keeps_count(*counters), roomy.peer() as peer:
        peer.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)))
        unread = peer.call(roomy.wide_call(1))
        unsent, opening = peer.open()
        peer.send(opening, frame(DATA, 0, unsent, call[:50]))
        time.sleep(3.2)
        peer.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 65535)))
        peer.send(frame(DATA, END_STREAM, unsent, call[50:]))
        assert [peer.answer(stream).status for stream in (unread, unsent)] == [0, 0]


def test_a_reader_that_is_slow_and_reads_is_not_cut_off(worker: AttackedWorker) -> None:
    with worker.keeps_count("CUTOFF_STALLED_REPLY"), never_reads(worker) as peer:
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert peer.socket.recv(40_000)
            time.sleep(0.1)
