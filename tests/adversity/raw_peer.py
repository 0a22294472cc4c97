"""An HTTP/2 peer over a plain socket that sends any frame it is told to, whatever the protocol says.

Frames are made by hand; only headers are encoded by `hpack`. Blocking, one connection, no windows kept: it waits for no
permission to send. It acknowledges nothing by itself.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field
from typing import NamedTuple, Self
from urllib.parse import unquote

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 0x1, 0x4, 0x8, 0x1
INITIAL_WINDOW_SIZE = 4
FRAME_BYTES = 16384

PREDICT = "/roost.v1.Prediction/Predict"
WAIT_S = 20.0

Headers = list[tuple[str, str]]


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def framed(message: bytes, flag: int = 0) -> bytes:
    """A gRPC length-prefixed message."""
    return struct.pack(">BI", flag, len(message)) + message


def setting(identifier: int, value: int) -> bytes:
    return struct.pack(">HI", identifier, value)


def call_headers(path: str = PREDICT, **changes: str | None) -> Headers:
    """Headers of a gRPC call. A change replaces a header or adds one ("_" for "-"); None leaves it out."""
    headers: dict[str, str] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    for name, value in changes.items():
        name = ":method" if name == "method" else name.replace("_", "-")
        if value is None:
            del headers[name]
        else:
            headers[name] = value
    return list(headers.items())


@dataclass
class Answer:
    """What has come on one stream. reset: the code of RST_STREAM."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def is_over(self) -> bool:
        return self.ended or self.reset is not None

    @property
    def status(self) -> int | None:
        """gRPC's status, None where the stream did not end with one."""
        return int(self.headers["grpc-status"]) if "grpc-status" in self.headers else None

    @property
    def text(self) -> str:
        return unquote(self.headers.get("grpc-message", ""))

    @property
    def message(self) -> bytes:
        """The one reply message."""
        assert self.body[0] == 0
        assert len(self.body) == 5 + int.from_bytes(self.body[1:5], "big")
        return self.body[5:]


class Conversation:
    """One connection's client side without a socket: headers in both directions, and what came on each stream."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._decoder.max_allowed_table_size = 65536
        self._received = b""
        self._answers: dict[int, Answer] = {}
        self._next_stream = 1

    def stream(self) -> int:
        """The next stream's number."""
        self._next_stream += 2
        return self._next_stream - 2

    def block(self, headers: Headers) -> bytes:
        """Headers, encoded."""
        return self._encoder.encode(headers, huffman=False)

    def open(self, headers: Headers | None = None, flags: int = 0) -> tuple[int, bytes]:
        """A new stream's number and its HEADERS frame, to be sent."""
        stream = self.stream()
        return stream, frame(HEADERS, flags | END_HEADERS, stream, self.block(headers or call_headers()))

    def take(self, piece: bytes) -> None:
        """Bytes that the server sent."""
        self._received += piece
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + length:
                break
            kind, flags = self._received[3], self._received[4]
            stream = int.from_bytes(self._received[5:9], "big") & 0x7FFFFFFF
            self._take(Frame(kind, flags, stream, self._received[9 : 9 + length]))
            self._received = self._received[9 + length :]

    def _take(self, came: Frame) -> None:
        self.frames.append(came)
        if not came.stream:
            return
        answer = self.so_far(came.stream)
        if came.kind == HEADERS:
            answer.headers.update((str(name), str(value)) for name, value in self._decoder.decode(came.payload))
        elif came.kind == DATA:
            answer.body += came.payload
        elif came.kind == RST_STREAM and not answer.ended:
            answer.reset = int.from_bytes(came.payload, "big")
        answer.ended |= came.kind in (HEADERS, DATA) and bool(came.flags & END_STREAM)

    def answers(self) -> list[Answer]:
        """What has come on every stream so far."""
        return list(self._answers.values())

    def so_far(self, stream: int) -> Answer:
        return self._answers.setdefault(stream, Answer())

    def came(self, kind: int) -> list[Frame]:
        return [came for came in self.frames if came.kind == kind]


class RawPeer(Conversation):
    """Use as a context manager: connected inside. hello: preface and SETTINGS are sent, the server's acknowledged."""

    def __init__(self, port: int, *, hello: bool = True, receive_buffer_bytes: int | None = None) -> None:
        super().__init__()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed = False
        if hello:
            self.send(PREFACE, frame(SETTINGS), frame(SETTINGS, ACK))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, *frames: bytes) -> bool:
        """False where the server has closed the connection."""
        try:
            self.socket.sendall(b"".join(frames))
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True
        return not self.closed

    def call(self, message: bytes, headers: Headers | None = None) -> int:
        """Sends a whole call, its body as it is (frame it with `framed`); returns its stream."""
        stream, opening = self.open(headers)
        starts = range(0, max(len(message), 1), FRAME_BYTES)
        pieces = [frame(DATA, 0, stream, message[start : start + FRAME_BYTES]) for start in starts[:-1]]
        self.send(opening, *pieces, frame(DATA, END_STREAM, stream, message[starts[-1] :]))
        return stream

    def ask(self, message: bytes, headers: Headers | None = None) -> Answer:
        """A whole call and its answer."""
        return self.answer(self.call(message, headers))

    def receive(self, until_s: float = WAIT_S) -> bool:
        """Reads what comes next. False at the end of the connection, or where nothing came in time."""
        if self.closed:
            return False
        self.socket.settimeout(max(until_s, 0.001))
        try:
            piece = self.socket.recv(1 << 16)
        except TimeoutError:
            return False
        except ConnectionResetError:
            piece = b""
        finally:
            self.socket.settimeout(WAIT_S)
        self.closed = not piece
        self.take(piece)
        return not self.closed

    def answer(self, stream: int, within_s: float = WAIT_S) -> Answer:
        """What came on a stream until it was over, or the connection was."""
        until = time.monotonic() + within_s
        while not self.so_far(stream).is_over and time.monotonic() < until:
            if not self.receive(until - time.monotonic()):
                break
        return self.so_far(stream)

    def is_closed(self, within_s: float = WAIT_S) -> bool:
        """True once the server has ended the connection; reads and drops what comes before."""
        until = time.monotonic() + within_s
        while not self.closed and time.monotonic() < until:
            self.receive(until - time.monotonic())
        return self.closed

    def is_served(self) -> bool:
        """True where a PING is still answered: all that was sent before it has been read, and nobody hung up."""
        mark = struct.pack(">d", time.monotonic())
        self.send(frame(PING, 0, 0, mark))
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            if any(came.flags & ACK and came.payload == mark for came in self.came(PING)):
                return True
            if not self.receive(until - time.monotonic()):
                return False
        return False
