"""Frames of RFC 9113 that matter, sent by hand: what is odd but allowed is answered, what is not ends its stream or
its connection, as the RFC has it, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.adversity.attacked_worker import AttackedWorker
from tests.adversity.raw_peer import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    RawPeer,
    call_headers,
    frame,
    setting,
)

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, CANCEL = 1, 3, 8

# --- Before any frame ------------------------------------------------------------------------------------------------

NO_PREFACE = {
    "HTTP/1.1": b"POST /roost.v1.Prediction/Predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(200),
    "zeros": bytes(24),
    "almost": PREFACE[:-1] + b"x",
}


@pytest.mark.parametrize("opening", NO_PREFACE)
def test_whoever_does_not_speak_http2_is_hung_up_on(worker: AttackedWorker, opening: str) -> None:
    with worker.raises_count("CUTOFF_BAD_PREFACE"), worker.peer(hello=False) as peer:
        peer.send(NO_PREFACE[opening])
        assert peer.is_closed()


# --- What ends the connection ----------------------------------------------------------------------------------------


def _interleaved(peer: RawPeer) -> list[bytes]:
    return [frame(HEADERS, 0, 1, peer.block(call_headers())), frame(PING, 0, 0, bytes(8))]


CONNECTION_ERRORS: dict[str, Callable[[RawPeer], list[bytes]]] = {
    "DATA on an idle stream": lambda peer: [frame(DATA, 0, 1, b"x")],
    "DATA on stream 0": lambda peer: [frame(DATA, 0, 0, b"x")],
    "HEADERS on stream 0": lambda peer: [frame(HEADERS, END_HEADERS, 0, peer.block(call_headers()))],
    "HEADERS on an even stream": lambda peer: [frame(HEADERS, END_HEADERS, 2, peer.block(call_headers()))],
    "another frame amid headers": _interleaved,
    "CONTINUATION without HEADERS": lambda peer: [frame(CONTINUATION, END_HEADERS, 1, b"")],
    "headers that are no HPACK": lambda peer: [frame(HEADERS, END_HEADERS, 1, b"\xff" * 20)],
    "an HPACK index out of the table": lambda peer: [frame(HEADERS, END_HEADERS, 1, b"\xfe")],
    "padding longer than the frame": lambda peer: [
        frame(HEADERS, END_HEADERS, 1, peer.block(call_headers())),
        frame(DATA, PADDED, 1, b"\x09abc"),
    ],
    "a frame longer than 16,384": lambda peer: [
        frame(HEADERS, END_HEADERS, 1, peer.block(call_headers())),
        frame(DATA, 0, 1, bytes(16385)),
    ],
    "SETTINGS on a stream": lambda peer: [frame(SETTINGS, 0, 1)],
    "SETTINGS of 5 bytes": lambda peer: [frame(SETTINGS, 0, 0, bytes(5))],
    "SETTINGS ACK with content": lambda peer: [frame(SETTINGS, ACK, 0, setting(INITIAL_WINDOW_SIZE, 1))],
    "ENABLE_PUSH of 2": lambda peer: [frame(SETTINGS, 0, 0, setting(2, 2))],
    "INITIAL_WINDOW_SIZE of 2^31": lambda peer: [frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 1 << 31))],
    "MAX_FRAME_SIZE of 100": lambda peer: [frame(SETTINGS, 0, 0, setting(5, 100))],
    "33 settings at once": lambda peer: [frame(SETTINGS, 0, 0, setting(0xF000, 1) * 33)],
    "PING of 7 bytes": lambda peer: [frame(PING, 0, 0, bytes(7))],
    "PING on a stream": lambda peer: [frame(PING, 0, 1, bytes(8))],
    "RST_STREAM on an idle stream": lambda peer: [frame(RST_STREAM, 0, 1, bytes(4))],
    "RST_STREAM of 3 bytes": lambda peer: [
        frame(HEADERS, END_HEADERS, 1, peer.block(call_headers())),
        frame(RST_STREAM, 0, 1, bytes(3)),
    ],
    "WINDOW_UPDATE of 0": lambda peer: [frame(WINDOW_UPDATE, 0, 0, bytes(4))],
    "WINDOW_UPDATE of 0 on a stream": lambda peer: [peer.open()[1], frame(WINDOW_UPDATE, 0, 1, bytes(4))],
    "WINDOW_UPDATE on an idle stream": lambda peer: [frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1))],
    "a window beyond 2^31": lambda peer: [frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF))],
    "PUSH_PROMISE from a client": lambda peer: [
        frame(HEADERS, END_HEADERS, 1, peer.block(call_headers())),
        frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + peer.block(call_headers())),
    ],
    "GOAWAY on a stream": lambda peer: [frame(GOAWAY, 0, 1, bytes(8))],
}


@pytest.mark.parametrize("error", CONNECTION_ERRORS)
def test_a_connection_error_ends_the_connection_with_a_goaway_and_is_counted(
    worker: AttackedWorker, error: str
) -> None:
    with worker.raises_count("CUTOFF_PROTOCOL_ERROR"), worker.peer() as peer:
        peer.send(*CONNECTION_ERRORS[error](peer))
        assert peer.is_closed()
        (goaway,) = peer.came(GOAWAY)
        assert struct.unpack(">I", goaway.payload[4:8])[0] != 0


@pytest.mark.parametrize("continuations", [8, 9])
def test_headers_come_in_8_continuations_at_most(worker: AttackedWorker, continuations: int) -> None:
    with worker.peer() as peer:
        stream, block = peer.stream(), peer.block(call_headers())
        pieces = [block[:2], *(block[2 + at : 3 + at] for at in range(continuations - 1)), block[1 + continuations :]]
        peer.send(
            frame(HEADERS, 0, stream, pieces[0]),
            *(frame(CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]),
            frame(CONTINUATION, END_HEADERS, stream, pieces[-1]),
            frame(DATA, END_STREAM, stream, worker.mlp_call()),
        )
        if continuations <= 8:
            assert peer.answer(stream).status == 0
        else:
            assert peer.is_closed()


# --- What ends the stream --------------------------------------------------------------------------------------------

BAD_BLOCKS = {
    "an upper-case name": [*call_headers(), ("Upper", "x")],
    "no :method": [header for header in call_headers() if header[0] != ":method"],
    "no :path": [header for header in call_headers() if header[0] != ":path"],
    ":path twice": [(":path", "/"), *call_headers()],
    "an unknown pseudo-header": [(":what", "x"), *call_headers()],
    "a pseudo-header behind the others": [*call_headers()[1:], (":method", "POST")],
    "a connection header": [*call_headers(), ("connection", "close")],
    "te of gzip": [("te", "gzip") if header[0] == "te" else header for header in call_headers()],
    "a response's pseudo-header": [*call_headers()[:4], (":status", "200"), *call_headers()[4:]],
    "an empty path": call_headers(""),
}


@pytest.mark.parametrize("block", BAD_BLOCKS)
def test_a_malformed_request_is_reset_and_the_connection_goes_on(worker: AttackedWorker, block: str) -> None:
    with worker.peer() as peer:
        stream, opening = peer.open(BAD_BLOCKS[block])
        peer.send(opening, frame(DATA, END_STREAM, stream, worker.mlp_call()))
        answer = peer.answer(stream)
        assert answer.reset == PROTOCOL_ERROR, answer
        worker.verify(peer)


def test_another_length_than_announced_is_reset(worker: AttackedWorker) -> None:
    call = worker.mlp_call()
    with worker.peer() as peer:
        answer = peer.ask(call, call_headers(content_length=str(len(call) + 1)))
        assert answer.reset == PROTOCOL_ERROR, answer
        assert peer.ask(call, call_headers(content_length=str(len(call)))).status == 0


def test_headers_that_come_twice_are_reset(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        stream, opening = peer.open()
        peer.send(opening, frame(HEADERS, END_HEADERS, stream, peer.block(call_headers())))
        assert peer.answer(stream).reset == PROTOCOL_ERROR
        worker.verify(peer)


def test_a_stream_window_beyond_its_end_is_reset(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        stream, opening = peer.open()
        peer.send(opening, frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 0x7FFFFFFF)))
        assert peer.answer(stream).reset == FLOW_CONTROL_ERROR
        worker.verify(peer)


def test_data_behind_the_end_of_a_stream_never_reaches_a_call(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        stream = peer.call(worker.mlp_call())
        peer.send(frame(DATA, 0, stream, worker.mlp_call()))
        peer.answer(stream)
        # A stream error or a connection error, as the RFC leaves open (5.1); the neighbour is none of its business.
        peer.is_served()
    with worker.peer() as other:
        worker.verify(other)


# --- What is odd and allowed -----------------------------------------------------------------------------------------


def test_a_call_reads_the_same_wherever_its_bytes_are_cut(worker: AttackedWorker) -> None:
    call = worker.mlp_call()
    with worker.peer() as peer:
        whole = peer.ask(call).message
        for cut in range(len(call) + 1):
            stream, opening = peer.open()
            pieces = frame(DATA, 0, stream, call[:cut]), frame(DATA, END_STREAM, stream, call[cut:])
            peer.send(opening, *pieces)
            assert peer.answer(stream).message == whole, cut


def test_a_call_reads_the_same_byte_by_byte(worker: AttackedWorker) -> None:
    call = worker.mlp_call()
    with worker.peer() as peer:
        whole = peer.ask(call).message
        stream, opening = peer.open()
        body = b"".join(frame(DATA, 0, stream, bytes([byte])) for byte in call)
        for start in range(0, len(opening + body), 3):  # frames cut by socket reads, too
            peer.send((opening + body)[start : start + 3])
        peer.send(frame(DATA, END_STREAM, stream))
        assert peer.answer(stream).message == whole


@pytest.mark.parametrize("padding", [0, 1, 255])
def test_padding_is_no_part_of_a_message(worker: AttackedWorker, padding: int) -> None:
    call = worker.mlp_call()
    with worker.peer() as peer:
        whole = peer.ask(call).message
        stream = peer.stream()
        block = bytes([padding]) + peer.block(call_headers()) + bytes(padding)
        peer.send(frame(HEADERS, END_HEADERS | PADDED, stream, block))
        for piece, flags in ((call[:7], 0), (b"", 0), (call[7:], 0), (b"", END_STREAM)):
            peer.send(frame(DATA, PADDED | flags, stream, bytes([padding]) + piece + bytes(padding)))
        assert peer.answer(stream).message == whole


def test_trailers_from_a_client_end_its_call(worker: AttackedWorker) -> None:
    call = worker.mlp_call()
    with worker.peer() as peer:
        whole = peer.ask(call).message
        stream, opening = peer.open()
        trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream, peer.block([("x-checked", "yes")]))
        peer.send(opening, frame(DATA, 0, stream, call), trailers)
        assert peer.answer(stream).message == whole


def test_headers_alone_are_a_call_without_message(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        stream, opening = peer.open(flags=END_STREAM)
        peer.send(opening)
        assert peer.answer(stream).text.startswith("message: expected exactly one")


def test_interleaved_calls_get_their_own_answers(worker: AttackedWorker) -> None:
    calls = [worker.mlp_call() for _ in range(6)]
    with worker.peer() as peer:
        apart = [peer.ask(call).message for call in calls]
        opened = [peer.open() for _ in calls]
        peer.send(*(opening for _, opening in opened))
        for at in range(0, max(map(len, calls)), 10):
            pieces = zip(opened, calls, strict=True)
            peer.send(*(frame(DATA, 0, stream, call[at : at + 10]) for (stream, _), call in pieces))
        peer.send(*(frame(DATA, END_STREAM, stream) for stream, _ in reversed(opened)))
        assert [peer.answer(stream).message for stream, _ in opened] == apart


def test_frames_that_nobody_knows_are_skipped(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        peer.send(frame(0xEE, 0xFF, 0, bytes(50)), frame(PRIORITY, 0, 9, struct.pack(">IB", 7, 3)))
        peer.send(frame(SETTINGS, 0, 0, setting(0xF00D, 3) + setting(1, 0)))
        worker.verify(peer)


def test_a_window_as_large_as_may_be_is_taken(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        peer.send(
            frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0x7FFFFFFF)),
            frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF - 65535)),
        )
        worker.verify(peer, rows=64)


def test_a_reply_is_sent_as_its_window_opens(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        peer.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)))
        whole = None
        for step in (1, 7, 100_000):
            stream = peer.call(worker.wide_call(1))
            while not peer.answer(stream, within_s=0).is_over:
                peer.send(
                    frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", step)),
                    frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", step)),
                )
                if step < 100 and len(peer.so_far(stream).body) > 20:
                    step = 100_000
                peer.receive(0.05)
            whole = whole or peer.so_far(stream).message
            assert peer.so_far(stream).message == whole


def test_a_stream_lower_than_the_last_is_no_call(worker: AttackedWorker) -> None:
    # A connection error by RFC 9113, 5.1.1; libnghttp2 skips it.
    with worker.peer() as peer:
        peer.stream()
        first = peer.stream()
        peer.send(frame(HEADERS, END_HEADERS, first, peer.block(call_headers())))
        peer.send(frame(HEADERS, END_HEADERS | END_STREAM, first - 2, peer.block(call_headers())))
        peer.send(frame(DATA, END_STREAM, first, worker.mlp_call()))
        assert peer.answer(first).status == 0
        assert not peer.so_far(first - 2).is_over


def test_a_client_that_says_goaway_gets_the_answers_it_waits_for(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        streams = [peer.call(worker.mlp_call()) for _ in range(3)]
        peer.send(frame(GOAWAY, 0, 0, bytes(8)))
        assert [peer.answer(stream).status for stream in streams] == [0, 0, 0]
        assert peer.is_closed()


STAGES: dict[str, Callable[[AttackedWorker, int, bytes], list[bytes]]] = {
    "before its message": lambda worker, stream, opening: [opening],
    "amid its message": lambda worker, stream, opening: [opening, frame(DATA, 0, stream, worker.mlp_call()[:40])],
    "amid a large message": lambda worker, stream, opening: [opening, frame(DATA, 0, stream, b"\0\0\3\0\0Large")],
    "once it is whole": lambda worker, stream, opening: [opening, frame(DATA, END_STREAM, stream, worker.mlp_call())],
    "while it runs": lambda worker, stream, opening: [opening, frame(DATA, END_STREAM, stream, worker.slow_call(300))],
    "while it is refused": lambda worker, stream, opening: [opening, frame(DATA, END_STREAM, stream, b"\7")],
    "while its reply is stuck": lambda worker, stream, opening: [
        frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)),
        opening,
        frame(DATA, END_STREAM, stream, worker.wide_call(2)),
    ],
}


@pytest.mark.parametrize("pause_s", [0.0, 0.1], ids=["at once", "later"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_call_that_is_reset_leaves_nothing_behind(worker: AttackedWorker, stage: str, pause_s: float) -> None:
    with worker.peer() as peer:
        stream, opening = peer.open()
        peer.send(*STAGES[stage](worker, stream, opening))
        if pause_s:
            peer.receive(pause_s)
        peer.send(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))
        peer.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 65535)))
        worker.verify(peer)


@pytest.mark.parametrize("stage", STAGES)
def test_a_client_that_vanishes_leaves_nothing_behind(worker: AttackedWorker, stage: str) -> None:
    with worker.peer() as peer:
        stream, opening = peer.open()
        peer.send(*STAGES[stage](worker, stream, opening))
        peer.receive(0.02)
