"""One connection of the checking caller: its frames, its request as a template, and its opening and closing.

Used by `caller`, which reads and writes through the kernels of `wire`. Always: a connection that is opened again begins
anew, with stream numbers and payloads of its own.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence

import hpack
import numpy as np
import numpy.typing as npt

from benchmarks.h2load_body import PREDICT_PATH, framed
from benchmarks.swaps import wire
from benchmarks.swaps.versions import NAME, VALUES_END, WIDTH
from protos.roost.v1 import predict_pb2 as v1

assert (wire.WIDTH, wire.VALUES_END) == (WIDTH, VALUES_END)

WINDOW = 1 << 30
BUFFER_BYTES = 1 << 20

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_KEY = b"0" * wire.KEY_DIGITS
_VALUES = struct.pack("<4f", 1.25, 2.25, 3.25, 4.25)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def template_of(
    keyed: bool, more: Sequence[tuple[bytes, bytes]]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """A request's frames, and where in them its own bytes go."""
    tensor = v1.Tensor(name="x", datatype="FP32", shape=[1, WIDTH], raw=_VALUES)
    request = v1.PredictRequest(model=NAME, routing_key=_KEY.decode() if keyed else "", inputs=[tensor])
    block = b"\x83\x86" + b"\x01\x09localhost" + b"\x04" + bytes([len(PREDICT_PATH)]) + PREDICT_PATH.encode()
    block += _literal(b"content-type", b"application/grpc") + _literal(b"te", b"trailers")
    block += b"".join(_literal(name, value) for name, value in more)
    headers = frame(wire.HEADERS, 4, 1, block)
    text = headers + frame(wire.DATA, wire.END_STREAM, 1, framed(request.SerializeToString()))
    places = [5, len(headers) + 5, text.index(_VALUES), text.index(_KEY, len(headers)) if keyed else -1]
    return np.frombuffer(text, np.uint8).copy(), np.array(places, np.int64)


class Connection:
    """One connection, or none: `socket` is None while the server refuses it."""

    def __init__(self, address: tuple[str, int], number: int, keys: int, seed: int) -> None:
        self.socket: socket.socket | None = None
        self.words = np.zeros(wire.CONNECTION_WORDS, np.int64)
        self.calls = np.zeros((wire.STREAMS, 3), np.int64)
        self.buffer = np.empty(BUFFER_BYTES, np.uint8)
        self.filled = 0
        self.unsent = b""
        self.retry_s = 0.0
        self._address = address
        self._own = (number, keys, seed)
        self._lives = 0

    def open(self) -> None:
        """Raises OSError."""
        self.socket = socket.create_connection(self._address, timeout=1)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        number, keys, seed = self._own
        self._lives += 1
        self.calls[:] = 0
        self.words[:] = 0
        self.words[wire.NEXT_STREAM] = 1
        self.words[wire.CREDIT] = 65_535
        self.words[wire.NUMBER] = number + 1000 * self._lives
        self.words[wire.KEYS], self.words[wire.SEED] = keys, seed
        self.filled = 0
        settings = b"".join(struct.pack(">HI", *pair) for pair in ((1, 0), (2, 0), (4, WINDOW)))
        self.unsent = _PREFACE + frame(wire.SETTINGS, 0, 0, settings)
        self.unsent += frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW))

    def close(self) -> int:
        """How many calls are lost by it."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        self.unsent = b""
        lost = int(self.words[wire.IN_FLIGHT])
        self.words[wire.IN_FLIGHT] = 0
        return lost

    def flush(self) -> None:
        if self.socket is None or not self.unsent:
            return
        with contextlib.suppress(BlockingIOError):
            self.unsent = self.unsent[self.socket.send(self.unsent) :]


def headers_of(block: bytes) -> dict[str, str]:
    """A header block that needs no dynamic table, as text."""
    return {str(name): str(value) for name, value in hpack.Decoder().decode(block)}


def good_trailers(connection: Connection, template: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The trailers' bytes of a call that went well. Raises AssertionError where it did not."""
    connection.open()
    assert connection.socket is not None
    connection.socket.settimeout(10)
    connection.socket.sendall(connection.unsent + template.tobytes())
    received = b""
    try:
        while True:
            at = 0
            while len(received) - at >= wire.FRAME_HEAD:
                length = int.from_bytes(received[at : at + 3], "big")
                if len(received) - at < wire.FRAME_HEAD + length:
                    break
                kind, flags = received[at + 3], received[at + 4]
                block = received[at + wire.FRAME_HEAD : at + wire.FRAME_HEAD + length]
                at += wire.FRAME_HEAD + length
                if kind == wire.HEADERS and flags & wire.END_STREAM:
                    trailers = headers_of(block)
                    assert trailers.get("grpc-status") == "0", f"the first call failed: {trailers}"
                    return np.frombuffer(block, np.uint8).copy()
            received = received[at:]
            more = connection.socket.recv(65_536)
            assert more, "the server closed the first connection"
            received += more
    finally:
        connection.close()
