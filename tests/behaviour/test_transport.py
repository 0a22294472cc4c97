"""gRPC over HTTP/2 as it may be cut, padded, compressed and got wrong, on a client that does as it is told."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import numpy as np
import pytest

from protos.roost.v1 import predict_pb2
from server.worker.status import Code
from tests.behaviour.conftest import MESSAGE_BYTES_MAX, Served
from tests.behaviour.http2_client import Answer, Header, Http2Client, framed
from tests.behaviour.messages import MODEL_INFER, PREDICT, infer_request, predict_request

ROWS = np.random.default_rng(23).standard_normal((3, 32)).astype(np.float32)
REQUEST = predict_request("mlp", {"features": ROWS}).SerializeToString()
BODY = framed(REQUEST)


@pytest.fixture
def client(served: Served) -> Iterator[Http2Client]:
    with Http2Client(served.worker.port) as client:
        yield client


@pytest.fixture
def expected(served: Served) -> bytes:
    return served.call(PREDICT, REQUEST)


def assert_answered(answer: Answer, expected: bytes) -> None:
    assert (answer.http_status, answer.status) == (200, 0), answer
    assert answer.headers["content-type"] == "application/grpc"
    assert answer.body == framed(expected)


def assert_refused(answer: Answer, code: Code) -> None:
    assert (answer.http_status, answer.status) == (200, code), answer
    assert not answer.body


def test_a_call_is_answered_with_headers_one_message_and_trailers(client: Http2Client, expected: bytes) -> None:
    answer = client.call(PREDICT, BODY)
    assert_answered(answer, expected)
    assert answer.trailers["grpc-status"] == "0"
    assert answer.ended


@pytest.mark.parametrize("cut", [1, 2, 4, 5, 6, 50, len(BODY) - 1])
def test_a_message_may_be_cut_anywhere(client: Http2Client, expected: bytes, cut: int) -> None:
    stream = client.open(PREDICT)
    client.data(stream, BODY[:cut])
    client.data(stream, BODY[cut:], end=True)
    assert_answered(client.wait(stream), expected)


def test_a_message_may_come_byte_by_byte(client: Http2Client, expected: bytes) -> None:
    stream = client.open(PREDICT)
    for position in range(len(BODY)):
        client.data(stream, BODY[position : position + 1], end=position == len(BODY) - 1)
    assert_answered(client.wait(stream), expected)


def test_the_end_may_come_in_an_empty_frame(client: Http2Client, expected: bytes) -> None:
    stream = client.open(PREDICT)
    client.data(stream, BODY)
    client.data(stream, b"", end=True)
    assert_answered(client.wait(stream), expected)


def test_calls_may_be_woven_into_each_other(client: Http2Client, expected: bytes) -> None:
    streams = [client.open(PREDICT) for _ in range(20)]
    half = len(BODY) // 2
    for stream in streams:
        client.data(stream, BODY[:half])
    for stream in reversed(streams):
        client.data(stream, BODY[half:], end=True)
    for stream in streams:
        assert_answered(client.wait(stream), expected)


@pytest.mark.parametrize("padding", [0, 1, 255])
def test_data_may_be_padded(served: Served, client: Http2Client, expected: bytes, padding: int) -> None:
    stream = client.open(PREDICT)
    client.data(stream, BODY, end=True, padding=padding)
    answer = client.wait(stream)
    # C-core refuses padded DATA, as docs/reference/protocol.md says.
    if served.worker.listener == "fast" or answer.status == 0:
        assert_answered(answer, expected)
    assert_answered(client.call(PREDICT, BODY), expected)


def test_gzip_is_answered(client: Http2Client, expected: bytes) -> None:
    answer = client.call(PREDICT, framed(gzip.compress(REQUEST), flag=1), (("grpc-encoding", "gzip"),))
    assert_answered(answer, expected)


def test_an_encoding_may_be_named_and_not_used(client: Http2Client, expected: bytes) -> None:
    assert_answered(client.call(PREDICT, BODY, (("grpc-encoding", "gzip"),)), expected)
    assert_answered(client.call(PREDICT, BODY, (("grpc-encoding", "identity"),)), expected)


@pytest.mark.parametrize(
    "extra",
    [
        (("content-type", "application/grpc+proto"),), (("content-type", "application/grpc;charset=utf-8"),),
        (("user-agent", "x" * 200), ("x-anything", "y")), (("x-bin", "AAAA"),), (("grpc-accept-encoding", "gzip"),),
        (("grpc-timeout", "20S"),), (("grpc-timeout", "99999999H"),), (("grpc-timeout", "20000000u"),),
    ],
)  # fmt: skip
def test_headers_that_callers_send_are_taken(client: Http2Client, expected: bytes, extra: tuple[Header, ...]) -> None:
    assert_answered(client.call(PREDICT, BODY, extra), expected)


MALFORMED: dict[str, tuple[bytes, tuple[Header, ...], set[Code]]] = {
    "two messages": (BODY + BODY, (), {Code.INVALID_ARGUMENT, Code.INTERNAL, Code.UNIMPLEMENTED}),
    "a tail behind the message": (BODY + b"\0", (), {Code.INVALID_ARGUMENT, Code.INTERNAL, Code.UNIMPLEMENTED}),
    "a message cut short": (BODY[:-1], (), {Code.INVALID_ARGUMENT, Code.INTERNAL}),
    "half a frame header": (BODY[:3], (), {Code.INVALID_ARGUMENT, Code.INTERNAL}),
    "no message": (b"", (), {Code.INVALID_ARGUMENT, Code.INTERNAL, Code.UNIMPLEMENTED}),
    "an unknown flag": (framed(REQUEST, flag=2), (), {Code.INVALID_ARGUMENT, Code.INTERNAL}),
    "an unknown encoding": (framed(REQUEST, flag=1), (("grpc-encoding", "snappy"),), {Code.UNIMPLEMENTED}),
    "compressed without an encoding": (framed(gzip.compress(REQUEST), flag=1), (), {Code.INTERNAL, Code.UNIMPLEMENTED}),
    "gzip that is none": (framed(b"no gzip", flag=1), (("grpc-encoding", "gzip"),), {Code.INTERNAL}),
    "gzip cut short": (
        framed(gzip.compress(REQUEST)[:-9], flag=1), (("grpc-encoding", "gzip"),), {Code.INTERNAL},
    ),
    "gzip that unpacks beyond the limit": (
        framed(gzip.compress(bytes(4 * MESSAGE_BYTES_MAX)), flag=1), (("grpc-encoding", "gzip"),),
        {Code.RESOURCE_EXHAUSTED},
    ),
    "a length beyond the limit": (
        b"\0" + (MESSAGE_BYTES_MAX + 1).to_bytes(4, "big") + b"x", (), {Code.RESOURCE_EXHAUSTED},
    ),
    "the largest length": (b"\0\xff\xff\xff\xff", (), {Code.RESOURCE_EXHAUSTED}),
}  # fmt: skip
# What C-core does with these is its own: docs/reference/protocol.md.
LEFT_TO_C_CORE = {
    "two messages", "a tail behind the message", "a message cut short", "half a frame header", "no message",
    "an unknown flag", "compressed without an encoding", "gzip cut short", "an unknown encoding", "gzip that is none",
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_call_is_refused_and_its_neighbours_are_not(
    served: Served, client: Http2Client, expected: bytes, case: str
) -> None:
    body, extra, codes = MALFORMED[case]
    neighbour = client.open(PREDICT)
    client.data(neighbour, BODY[:20])
    if served.worker.listener == "grpcio" and case in LEFT_TO_C_CORE:
        doomed = client.open(PREDICT, extra)
        client.data(doomed, body, end=True)
        assert_answered(client.call(PREDICT, BODY), expected)
        # Of several messages C-core reads the first and forgets the rest.
        assert client.answers[doomed].status != 0 or body.startswith(BODY)
    else:
        answer = client.call(PREDICT, body, extra)
        assert answer.http_status == 200
        assert answer.status in codes, answer
        assert answer.message
    client.data(neighbour, BODY[20:], end=True)
    assert_answered(client.wait(neighbour), expected)


@pytest.mark.parametrize("timeout", ["", "S", "1", "1x", "-1S", "1.5S", "123456789S", "1 S", "S1", "\u00b9S"])
def test_a_malformed_timeout_is_refused_naming_it(
    served: Served, client: Http2Client, expected: bytes, timeout: str
) -> None:
    answer = client.call(PREDICT, BODY, (("grpc-timeout", timeout),))
    if served.worker.listener == "fast":
        assert answer.status in (Code.INVALID_ARGUMENT, Code.INTERNAL), answer
        assert "grpc-timeout" in answer.message
    assert_answered(client.call(PREDICT, BODY), expected)


@pytest.mark.parametrize("timeout", ["1n", "0S"])
def test_a_deadline_that_is_over_is_exceeded(client: Http2Client, expected: bytes, timeout: str) -> None:
    answer = client.call(PREDICT, BODY, (("grpc-timeout", timeout),))
    assert answer.status == Code.DEADLINE_EXCEEDED or answer.reset == 8, answer
    assert_answered(client.call(PREDICT, BODY), expected)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/grp", "application/grpcx", ""])
def test_another_content_type_is_http_415(
    served: Served, client: Http2Client, expected: bytes, content_type: str
) -> None:
    answers = [client.call(PREDICT, BODY, (("content-type", content_type),)) for _ in range(2)]
    answers.append(client.call(PREDICT, BODY, without="content-type"))
    if served.worker.listener == "fast":
        assert [answer.http_status for answer in answers] == [415] * 3
    assert_answered(client.call(PREDICT, BODY), expected)


def test_a_message_of_status_is_percent_encoded(client: Http2Client) -> None:
    request = predict_pb2.PredictRequest(model="na\u00efve 100%")
    answer = client.call(PREDICT, framed(request.SerializeToString()))
    assert_refused(answer, Code.NOT_FOUND)
    assert 'got "na\u00efve 100%"' in answer.message


def test_a_path_that_is_not_utf8_is_unimplemented_or_closed(served: Served, expected: bytes) -> None:
    with Http2Client(served.worker.port) as client:
        stream = client.open("/\u00ff\u00fe/x")
        client.data(stream, BODY, end=True)
        answer = client.wait(stream)
        if served.worker.listener == "fast":
            assert_refused(answer, Code.UNIMPLEMENTED)
            assert_answered(client.call(PREDICT, BODY), expected)
    assert served.call(PREDICT, REQUEST, wait_for_ready=True) == expected


def test_a_stream_that_is_reset_midway_leaves_its_neighbours(client: Http2Client, expected: bytes) -> None:
    for cut in (0, 3, 40, len(BODY)):
        doomed, kept = client.open(PREDICT), client.open(PREDICT)
        client.data(doomed, BODY[:cut])
        client.data(kept, BODY[:cut])
        client.reset(doomed)
        client.data(kept, BODY[cut:], end=True)
        assert_answered(client.wait(kept), expected)


def test_a_peer_that_disconnects_midway_disturbs_nobody(served: Served, expected: bytes) -> None:
    for cut in (0, 3, 40, len(BODY)):
        with Http2Client(served.worker.port) as leaving:
            stream = leaving.open(MODEL_INFER)
            leaving.data(stream, BODY[:cut])
        assert served.call(PREDICT, REQUEST) == expected


def test_a_large_call_comes_through_small_windows(served: Served, client: Http2Client) -> None:
    rows = np.zeros((1500, 32), np.float32)
    message = infer_request("mlp", {"features": rows}).SerializeToString()
    stream = client.open(MODEL_INFER)
    body = framed(message)
    # 16,384 is the largest frame; h2 raises if the server's window is overrun.
    for start in range(0, 49152, 16384):
        client.data(stream, body[start : start + 16384])
    position = 49152
    while position < len(body):
        client.pump(stream)
        room = min(client.room(stream), 16384, len(body) - position)
        if room:
            client.data(stream, body[position : position + room], end=position + room == len(body))
            position += room
    answer = client.wait(stream)
    assert answer.body == framed(served.call(MODEL_INFER, message))
