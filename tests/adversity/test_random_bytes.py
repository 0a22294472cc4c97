"""Noise: random bytes, and random frames that are well-formed one by one. Nothing crashes, nobody else notices.

Seeds are fixed, and named where a test fails.
"""

from __future__ import annotations

import random
import socket
import struct

import pytest

from tests.adversity.attacked_worker import AttackedWorker
from tests.adversity.raw_peer import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
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

STRINGS = 10_000
CONVERSATIONS = 150
FRAMES = 40


def noise(draw: random.Random) -> bytes:
    """Random bytes, at random behind a preface, or as the content of a frame, or a message."""
    junk = draw.randbytes(draw.randrange(1, 300))
    match draw.randrange(4):
        case 0:
            return junk
        case 1:
            return PREFACE + junk
        case 2:
            kind, flags, stream = draw.randrange(12), draw.randrange(256), draw.randrange(6)
            return PREFACE + frame(SETTINGS) + frame(kind, flags, stream, junk)
        case _:
            # A header block that is right, and a message that is none.
            block = b"\x83\x86\x44\x1c/roost.v1.Prediction/Predict\x5f\x10application/grpc"
            opening = frame(HEADERS, END_HEADERS, 1, block)
            return PREFACE + frame(SETTINGS) + opening + frame(DATA, END_STREAM, 1, b"\0\0\0\0" + junk)


@pytest.mark.parametrize("seed", [1])
def test_random_bytes_harm_nobody(roomy: AttackedWorker, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(STRINGS):
        with socket.create_connection(("127.0.0.1", roomy.port), timeout=20) as peer:
            peer.sendall(noise(draw))


def random_frame(draw: random.Random, peer: RawPeer, worker: AttackedWorker) -> bytes:
    """One frame that is well-formed by itself, on a stream that may be in any state."""
    stream = draw.choice([peer.stream(), draw.randrange(1, 60, 2), 1])
    call = worker.mlp_call()
    match draw.randrange(10):
        case 0 | 1 | 2:
            flags = draw.choice([0, 0, 0, END_STREAM]) | END_HEADERS
            timeout = draw.choice([None, "1n", "5S"])
            headers = call_headers(grpc_timeout=timeout) if timeout else call_headers()
            whole = frame(HEADERS, flags, stream, peer.block(headers))
            if not flags & END_STREAM and draw.random() < 0.6:
                whole += frame(DATA, END_STREAM, stream, call)
            return whole
        case 3:
            cut = draw.randrange(len(call))
            return frame(DATA, draw.choice([0, END_STREAM]), stream, call[:cut])
        case 4:
            padding = draw.randrange(20)
            return frame(DATA, PADDED, stream, bytes([padding]) + call[: draw.randrange(30)] + bytes(padding))
        case 5:
            return frame(RST_STREAM, 0, stream, struct.pack(">I", draw.randrange(14)))
        case 6:
            return frame(WINDOW_UPDATE, 0, draw.choice([0, stream]), struct.pack(">I", draw.randrange(1, 1 << 16)))
        case 7:
            return frame(SETTINGS, 0, 0, setting(draw.choice([1, 3, 4, 6]), draw.randrange(1 << 16)))
        case 8:
            return frame(PRIORITY, 0, stream, struct.pack(">IB", draw.randrange(60), 3))
        case _:
            rare = frame(CONTINUATION, END_HEADERS, stream), frame(GOAWAY, 0, 0, bytes(8))
            return draw.choice([frame(PING, 0, 0, bytes(8))] * 20 + list(rare))


@pytest.mark.parametrize("seed", range(3))
def test_random_frames_in_random_order_harm_nobody(roomy: AttackedWorker, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(CONVERSATIONS // 3):
        with roomy.peer() as peer:
            for _ in range(FRAMES):
                if not peer.send(random_frame(draw, peer, roomy)):
                    break
            peer.receive(0.001)
