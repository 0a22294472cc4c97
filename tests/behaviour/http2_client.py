"""A gRPC client on hyper-h2 that sends what it is told to, frame by frame, and keeps what comes back.

For requests that no gRPC library would send. Blocking, one connection.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass, field
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events

Header = tuple[str, str]


def framed(message: bytes, flag: int = 0) -> bytes:
    """A gRPC length-prefixed message."""
    return bytes([flag]) + struct.pack(">I", len(message)) + message


@dataclass
class Answer:
    """What came back on a stream. reset: the RST_STREAM's code, if there was one; ended: END_STREAM was seen."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def http_status(self) -> int:
        return int(self.headers.get(":status", "0"))

    @property
    def status(self) -> int | None:
        found = self.trailers.get("grpc-status", self.headers.get("grpc-status"))
        return None if found is None else int(found)

    @property
    def message(self) -> str:
        return unquote(self.trailers.get("grpc-message", self.headers.get("grpc-message", "")))

    @property
    def is_over(self) -> bool:
        return self.ended or self.reset is not None


class Http2Client:
    """Use as a context manager."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        config = h2.config.H2Configuration(client_side=True, validate_outbound_headers=False, header_encoding="latin-1")
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.closed = False
        self.went_away = False
        self._send()

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def _send(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def open(self, path: str, extra: tuple[Header, ...] = (), *, without: str = "", end: bool = False) -> int:
        """Sends the headers of a call; `extra` replaces what has the same name. Returns the stream."""
        headers = {
            ":method": "POST", ":scheme": "http", ":path": path, ":authority": "localhost", "te": "trailers",
            "content-type": "application/grpc",
        } | dict(extra)  # fmt: skip
        headers.pop(without, None)
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, list(headers.items()), end_stream=end)
        self.answers[stream] = Answer()
        self._send()
        return stream

    def data(self, stream: int, chunk: bytes, *, end: bool = False, padding: int | None = None) -> None:
        self._h2.send_data(stream, chunk, end_stream=end, pad_length=padding)
        self._send()

    def reset(self, stream: int) -> None:
        self._h2.reset_stream(stream, error_code=8)
        self._send()

    def call(self, path: str, body: bytes, extra: tuple[Header, ...] = (), *, without: str = "") -> Answer:
        """A whole call: headers, one DATA frame, the answer."""
        stream = self.open(path, extra, without=without)
        self.data(stream, body, end=True)
        return self.wait(stream)

    def wait(self, stream: int, limit_s: float = 10.0) -> Answer:
        """The answer once it is over, or as far as it came when the connection was closed."""
        until = time.monotonic() + limit_s
        while not self.answers[stream].is_over and not self.closed:
            assert time.monotonic() < until, f"no answer within {limit_s} s: {self.answers[stream]}"
            self._receive()
        return self.answers[stream]

    def room(self, stream: int) -> int:
        """Bytes that the server's windows let us send now."""
        return self._h2.local_flow_control_window(stream)

    def pump(self, stream: int) -> None:
        """Reads what has come, and waits for something where there is no room to send."""
        if not self.room(stream):
            self._receive()

    def _receive(self) -> None:
        received = self._socket.recv(65536)
        if not received:
            self.closed = True
            return
        for event in self._h2.receive_data(received):
            self._note(event)
        self._send()

    def _note(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.went_away = True
        stream = getattr(event, "stream_id", None)
        answer = self.answers.get(stream) if stream else None
        if answer is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = _texts(event.headers)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = _texts(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = int(event.error_code)


def _texts(headers: list[tuple[bytes | str, bytes | str]]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in headers}


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
