"""The caller tells right from wrong: replies made by hand, frame by frame, and a server of its own."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from benchmarks.h2load_body import framed
from benchmarks.swaps import wire
from benchmarks.swaps.measured import Found, Pair, Plan
from benchmarks.swaps.report import targets
from protos.roost.v1 import predict_pb2 as v1

TRAILERS = b"\x00\x0bgrpc-status\x010"
DUE_NS, NOW_NS, FACTOR, VERSION = 1000, 5000, 7, 3
SEED = 11


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def values(stream: int, factor: int) -> bytes:
    word = wire.mixed(SEED, 0, stream)
    return struct.pack("<4f", *(factor * wire.value_at(word, index, 0) for index in range(wire.WIDTH)))


def reply(stream: int, *, version: int = VERSION, factor: int = FACTOR, raw: bytes | None = None) -> bytes:
    tensor = v1.Tensor(name="y", datatype="FP32", shape=[1, 4], raw=values(stream, factor) if raw is None else raw)
    message = v1.PredictReply(model="scaled", version=str(version), variant="canary", outputs=[tensor])
    return frame(wire.DATA, 0, stream, framed(message.SerializeToString()))


def trailers(stream: int, block: bytes = TRAILERS) -> bytes:
    return frame(wire.HEADERS, 5, stream, block)


class Reader:
    """One connection with a call in flight on the streams 1, 3, 5."""

    def __init__(self) -> None:
        self.words = np.zeros(wire.CONNECTION_WORDS, np.int64)
        self.words[wire.IN_FLIGHT], self.words[wire.SEED] = 3, SEED
        self.calls = np.zeros((wire.STREAMS, 3), np.int64)
        self.calls[:3, wire.DUE] = DUE_NS
        self.factors = np.array([0, 1, 2, FACTOR], np.int64)
        self.by_version = np.zeros((4, 2), np.int64)
        self.counts = np.zeros(wire.COUNTS, np.int64)
        self.log = np.zeros((10, 4), np.int64)
        self.failures = np.zeros((10, 3), np.int64)

    def read(self, content: bytes) -> int:
        return int(
            wire.read_frames(
                np.frombuffer(content, np.uint8).copy(),
                len(content),
                self.words,
                self.calls,
                self.factors,
                np.frombuffer(TRAILERS, np.uint8).copy(),
                self.by_version,
                self.counts,
                self.log,
                np.zeros((10, wire.BLOCK_BYTES_MAX), np.uint8),
                self.failures,
                np.zeros(8, np.uint8),
                NOW_NS,
            )
        )


def test_a_right_answer_counts_once_and_for_its_version() -> None:
    reader = Reader()
    content = reply(1) + trailers(1)
    assert reader.read(content) == len(content)
    assert reader.by_version.tolist() == [[0, 0], [0, 0], [0, 0], [1, 0]]
    assert reader.log[0].tolist() == [DUE_NS, NOW_NS, VERSION, 1]
    assert reader.words[wire.IN_FLIGHT] == 2
    reader.read(content)
    assert reader.by_version.sum() == 1, "the stream is over"


@pytest.mark.parametrize("cut", range(0, 130, 13))
def test_a_frame_that_is_not_whole_is_left_for_later(cut: int) -> None:
    reader = Reader()
    content = reply(1) + trailers(1)
    consumed = reader.read(content[:cut])
    assert consumed <= cut
    reader.read(content[consumed:])
    assert reader.by_version[VERSION].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("made", "version"),
    [
        pytest.param(reply(1, factor=2), VERSION, id="another version's values"),
        pytest.param(reply(1, version=2), 2, id="another version's name"),
        pytest.param(reply(1, raw=values(3, FACTOR)), VERSION, id="another call's values"),
        pytest.param(reply(1, raw=struct.pack("<4f", *[float("nan")] * 4)), VERSION, id="not a number"),
        pytest.param(reply(1, raw=values(1, FACTOR)[:12]), 0, id="too few values"),
        pytest.param(reply(1, version=99), 0, id="a version that there is not"),
        pytest.param(reply(1) + reply(1), 0, id="two messages"),
        pytest.param(frame(wire.DATA, 0, 1, b"\1" + reply(1)[10:]), 0, id="compressed"),
    ],
)
def test_a_wrong_answer_is_never_counted_as_right(made: bytes, version: int) -> None:
    reader = Reader()
    reader.read(made + trailers(1))
    assert reader.by_version[:, 0].sum() == 0
    assert reader.by_version[version].tolist() == [0, 1]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(trailers(1), id="no message"),
        pytest.param(reply(1) + trailers(1, TRAILERS[:-1] + b"8"), id="another status"),
        pytest.param(reply(1) + frame(wire.RST_STREAM, 0, 1, bytes(4)), id="reset"),
    ],
)
def test_a_call_that_failed_is_no_answer(end: bytes) -> None:
    reader = Reader()
    reader.read(end)
    assert reader.by_version.sum() == 0
    assert reader.counts[wire.COUNT_FAILED] == 1
    assert reader.failures[0, :2].tolist() == [DUE_NS, NOW_NS]


def good() -> Found:
    """A run in which everything was kept."""
    return Found(
        flips=10, swaps=4, sent=100, right=100, flip_pairs=[Pair(100.0, 110.0)], swap_pairs=[Pair(100.0, 140.0)],
        late_ms=[0.0, 1.0], rss_before=100, rss_after=105,
    )  # fmt: skip


def missed(found: Found) -> list[str]:
    return [target.what for target in targets(found, 10, 4) if not target.passed]


def test_a_run_in_which_everything_was_kept_passes() -> None:
    assert missed(good()) == []


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ({"flips": 9}, "weight flips"),
        ({"swaps": 3}, "swaps to other digests"),
        ({"right": 99, "failed": 1}, "requests failed or unanswered"),
        ({"right": 99, "lost": 1}, "requests failed or unanswered"),
        ({"right": 99}, "requests failed or unanswered"),
        ({"right": 99, "wrong": 1}, "requests answered wrongly"),
        ({"flip_pairs": [Pair(100.0, 121.0)]}, "p99 during flips, to quiet"),
        ({"swap_pairs": [Pair(100.0, 151.0)]}, "p99 during swaps, to quiet"),
        ({"rss_after": 111}, "the worker's memory, to before"),
    ],
)
def test_what_was_promised_and_not_kept_is_missed(fault: dict[str, object], what: str) -> None:
    found = good()
    for name, value in fault.items():
        setattr(found, name, value)
    assert missed(found) == [what]


def test_a_reply_that_comes_late_after_a_rollback_is_missed() -> None:
    found = good()
    found.late_ms = [0.0] * 98 + [11.0] * 2
    assert missed(found) == ["last reply after Rollback's, p99 ms"]


def test_ratios_are_medians_of_what_was_measured_in_pairs() -> None:
    found = good()
    found.flip_pairs = [Pair(100.0, 100.0), Pair(1000.0, 1100.0), Pair(10.0, 90.0)]
    assert found.flip_ratio == 1.1


def test_a_plan_whose_flips_do_not_fill_its_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="as many flips in each pair"):
        Plan(flips=10, flip_pairs=3, flip_window_s=1.0, cycles=1, warm_cycles=0, capacity_s=1.0)
