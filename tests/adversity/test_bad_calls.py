"""Calls that are wrong: each gets one status with a message that names what was wrong, and its stream only."""

from __future__ import annotations

import gzip
import struct
import zlib

import pytest

from tests.adversity.attacked_worker import AttackedWorker
from tests.adversity.raw_peer import DATA, END_STREAM, PREDICT, Headers, call_headers, frame, framed

INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 3, 4, 5, 8, 12, 13

# Headers, HTTP status, gRPC status, and the field that the message names first.
WRONG_HEADERS: dict[str, tuple[Headers, int, int, str]] = {
    "content-type of a web page": (call_headers(content_type="text/html"), 415, INVALID_ARGUMENT, "content-type"),
    "content-type that only begins right": (
        call_headers(content_type="application/grpcweb"), 415, INVALID_ARGUMENT, "content-type",
    ),
    "no content-type": (call_headers(content_type=None), 415, INVALID_ARGUMENT, "content-type"),
    "GET": (call_headers(method="GET"), 405, INVALID_ARGUMENT, ":method"),
    "PUT": (call_headers(method="PUT"), 405, INVALID_ARGUMENT, ":method"),
    "unknown method": (call_headers("/roost.v1.Prediction/Guess"), 200, UNIMPLEMENTED, "method"),
    "path in another case": (call_headers(PREDICT.lower()), 200, UNIMPLEMENTED, "method"),
    "path with a slash behind": (call_headers(PREDICT + "/"), 200, UNIMPLEMENTED, "method"),
    "root": (call_headers("/"), 200, UNIMPLEMENTED, "method"),
    "timeout without a unit": (call_headers(grpc_timeout="5"), 200, INVALID_ARGUMENT, "grpc-timeout"),
    "timeout without a number": (call_headers(grpc_timeout="S"), 200, INVALID_ARGUMENT, "grpc-timeout"),
    "timeout of 9 digits": (call_headers(grpc_timeout="123456789m"), 200, INVALID_ARGUMENT, "grpc-timeout"),
    "negative timeout": (call_headers(grpc_timeout="-1S"), 200, INVALID_ARGUMENT, "grpc-timeout"),
    "empty timeout": (call_headers(grpc_timeout=""), 200, INVALID_ARGUMENT, "grpc-timeout"),
    "timeout of nothing": (call_headers(grpc_timeout="0n"), 200, DEADLINE_EXCEEDED, "deadline"),
    "timeout of a nanosecond": (call_headers(grpc_timeout="1n"), 200, DEADLINE_EXCEEDED, "deadline"),
    "unknown encoding": (call_headers(grpc_encoding="zstd"), 200, UNIMPLEMENTED, "grpc-encoding"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_HEADERS)
def test_a_call_with_wrong_headers_is_refused_in_words_that_name_the_header(worker: AttackedWorker, wrong: str) -> None:
    headers, http_status, status, field = WRONG_HEADERS[wrong]
    with worker.peer() as peer:
        answer = peer.ask(worker.mlp_call(), headers)
        assert answer.headers[":status"] == str(http_status), answer
        assert answer.status == status, answer
        assert answer.text.startswith(field + ":"), answer
        worker.verify(peer)


def test_a_path_that_is_no_utf8_fails_only_its_own_call(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        stream = peer.stream()
        # The path as a literal without indexing: the library encodes none that is no text.
        rest = peer.block([header for header in call_headers() if header[0] != ":path"])
        block = b"\x04" + bytes([4]) + b"/\xff\xfe\xfd" + rest
        peer.send(frame(1, 0x4, stream, block), frame(DATA, END_STREAM, stream, worker.mlp_call()))
        assert peer.answer(stream).status == UNIMPLEMENTED
        worker.verify(peer)


def test_an_unknown_encoding_is_told_which_are_known(worker: AttackedWorker) -> None:
    with worker.peer() as peer:
        answer = peer.ask(worker.mlp_call(), call_headers(grpc_encoding="snappy"))
        assert answer.headers["grpc-accept-encoding"] == "identity,gzip"


def packed(message: bytes) -> bytes:
    """As a compressed message."""
    return framed(gzip.compress(message), flag=1)


def bodies(call: bytes) -> dict[str, tuple[bytes, str | None, int, str]]:
    """Body, encoding, gRPC status, and the field that the message names first."""
    message = call[5:]
    squeezed = gzip.compress(message)
    damaged = bytearray(squeezed)
    damaged[len(damaged) // 2] ^= 0xFF
    bomb = gzip.compress(bytes(64 << 20))
    return {
        "no message": (b"", None, UNIMPLEMENTED, "message"),
        "two messages": (call + call, None, UNIMPLEMENTED, "message"),
        "a tail": (call + b"x", None, UNIMPLEMENTED, "message"),
        "cut short": (call[:-1], None, INTERNAL, "message"),
        "cut in its header": (call[:3], None, INTERNAL, "message"),
        "header only": (call[:5], None, INTERNAL, "message"),
        "flag 2": (b"\2" + call[1:], None, INTERNAL, "message"),
        "flag 255": (b"\xff" + call[1:], None, INTERNAL, "message"),
        "flag 1 without encoding": (b"\1" + call[1:], None, INTERNAL, "message"),
        "longer than the limit": (struct.pack(">BI", 0, 256 * 1024 + 1), None, RESOURCE_EXHAUSTED, "message"),
        "4 GiB announced": (b"\0\xff\xff\xff\xff", None, RESOURCE_EXHAUSTED, "message"),
        "not protobuf": (framed(b"\xff" * 40), None, INVALID_ARGUMENT, "message"),
        "unknown model": (framed(b"\x0a\x04gone"), None, NOT_FOUND, "model"),
        "empty protobuf": (framed(b""), None, NOT_FOUND, "model"),
        "gzip damaged": (framed(bytes(damaged), 1), "gzip", INTERNAL, "message"),
        "gzip cut short": (framed(squeezed[:-9], 1), "gzip", INTERNAL, "message"),
        "no gzip at all": (framed(b"plain", 1), "gzip", INTERNAL, "message"),
        "zlib for gzip": (framed(zlib.compress(message), 1), "gzip", INTERNAL, "message"),
        "gzip bomb": (framed(bomb, 1), "gzip", RESOURCE_EXHAUSTED, "message"),
        "flag 2 with gzip": (framed(squeezed, 2), "gzip", INTERNAL, "message"),
    }


BODIES = tuple(bodies(bytes(64)))


@pytest.mark.parametrize("wrong", BODIES)
def test_a_wrong_message_is_refused_in_words_that_name_it(worker: AttackedWorker, wrong: str) -> None:
    body, encoding, status, field = bodies(worker.mlp_call())[wrong]
    with worker.peer() as peer:
        answer = peer.ask(body, call_headers(grpc_encoding=encoding) if encoding else None)
        assert answer.status == status, answer
        assert answer.text.startswith(field), answer
        worker.verify(peer)


@pytest.mark.parametrize("flag", [0, 1])
def test_a_gzip_call_is_answered_whether_its_message_is_packed_or_not(worker: AttackedWorker, flag: int) -> None:
    call = worker.mlp_call()
    with worker.peer() as peer:
        answer = peer.ask(packed(call[5:]) if flag else call, call_headers(grpc_encoding="gzip"))
        assert answer.status == 0, answer
        assert answer.message


def test_a_bomb_is_not_unpacked_beyond_the_limit(worker: AttackedWorker) -> None:
    bomb = framed(gzip.compress(bytes(200 << 20)), 1)
    with worker.peer() as peer:
        worker.verify(peer)
        before = worker.rss_bytes()
        assert peer.ask(bomb, call_headers(grpc_encoding="gzip")).status == RESOURCE_EXHAUSTED
        assert worker.rss_bytes() - before < 20 << 20


def test_a_message_too_long_is_refused_by_its_header_and_nothing_is_kept(worker: AttackedWorker) -> None:
    with worker.peer() as peer, worker.raises_count("REFUSAL_MESSAGE_TOO_LONG"):
        stream, opening = peer.open()
        peer.send(opening, frame(DATA, 0, stream, struct.pack(">BI", 0, 1 << 30)))
        assert peer.answer(stream).status == RESOURCE_EXHAUSTED  # no byte of its content was sent
        assert worker.eventually(lambda: worker.count("ASSEMBLING_BYTES") == 0)
        worker.verify(peer)


def test_a_message_up_to_the_limit_is_read(worker: AttackedWorker) -> None:
    # Protobuf skips a field that it does not know: the message is as long as may be, and answered.
    message = worker.mlp_call()[5:]
    fill = 256 * 1024 - len(message) - 6
    filler = b"\xf2\x3f" + bytes([fill & 0x7F | 0x80, fill >> 7 & 0x7F | 0x80, fill >> 14]) + bytes(fill)
    whole = message + filler
    assert 0 <= 256 * 1024 - len(whole) <= 1
    with worker.peer() as peer:
        stream, opening = peer.open()
        body = framed(whole)
        pieces = [body[start : start + 16384] for start in range(0, len(body), 16384)]
        peer.send(opening, *(frame(DATA, 0, stream, piece) for piece in pieces), frame(DATA, END_STREAM, stream))
        assert peer.answer(stream).status == 0
