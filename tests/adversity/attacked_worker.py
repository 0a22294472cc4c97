"""A real worker under attack: its counters, what it holds, and a neighbour's calls that go on meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from native.plane import counters
from native.plane.counters import COUNTERS_LENGTH
from native.plane.seqlock import read
from server.settings import BatchingSettings, LimitSettings, ModelSettings, ServerSettings, Settings
from tests.adversity.raw_peer import RawPeer, framed
from tests.behaviour.messages import predict_outputs, predict_request
from tests.behaviour.served_models import bare
from tests.behaviour.worker_process import WorkerProcess

SETTLED_S = 10.0
FAR = 1_000_000
GAUGES = ("CONNECTIONS", "SLOTS_IN_USE", "QUEUED_ROWS", "ASSEMBLING_BYTES", "REPLY_BYTES")


def small_limits(**changed: float) -> dict[str, float]:
    """Limits that a test reaches at once. changed: limits by key, to make one of them unreachable."""
    return {
        "message_bytes_max": 256 * 1024,
        "assembling_bytes_per_connection_max": 512 * 1024,
        "assembling_bytes_max": 1024 * 1024,
        "reply_bytes_per_connection_max": 512 * 1024,
        "connections_max": 24,
        "streams_per_connection_max": 6,
        "slots_max": 32,
        "header_bytes_max": 2048,
        "headers_max": 32,
        "resets_sent_max": 50,
        "outbound_frames_max": 500,
        "empty_data_frames_max": 100,
        "priority_frames_max": 100,
        "settings_ack_timeout_s": 1.0,
        "stalled_timeout_s": 1.0,
        "handoffs_max": 8,
    } | changed


def no_limits(**changed: float) -> dict[str, float]:
    """Limits that nothing here reaches: what is cut off with `small_limits` goes on with these, so they did it."""
    return {
        "message_bytes_max": 32 << 20,
        "assembling_bytes_per_connection_max": 1 << 30,
        "assembling_bytes_max": 1 << 30,
        "reply_bytes_per_connection_max": 1 << 30,
        "connections_max": 4096,
        "streams_per_connection_max": 4096,
        "slots_max": 16384,
        "header_bytes_max": 1 << 20,
        "headers_max": 4096,
        "resets_sent_max": FAR,
        "outbound_frames_max": FAR,
        "empty_data_frames_max": FAR,
        "priority_frames_max": FAR,
        "settings_ack_timeout_s": 600,
        "stalled_timeout_s": 600,
        "handoffs_max": 4096,
    } | changed


def wide_model() -> bytes:
    """y = x @ ones: 4,096 floats a row, so that small requests have large replies."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "ones"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 4096])],
        [numpy_helper.from_array(np.ones((1, 4096), np.float32), "ones")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return model.SerializeToString(deterministic=True)


class AttackedWorker:
    """A running worker and its models."""

    def __init__(self, process: WorkerProcess, models: dict[str, Path]) -> None:
        self.process = process
        self.models = models
        self._random = np.random.default_rng(5)

    @property
    def port(self) -> int:
        return self.process.port

    @property
    def pid(self) -> int:
        assert self.process.process is not None
        return self.process.process.pid

    def peer(self, **options: Any) -> RawPeer:
        return RawPeer(self.port, **options)

    def counts(self) -> np.ndarray:
        """All counters, as the worker published them last."""
        block = self.process.plane.block(0)
        out = np.zeros(COUNTERS_LENGTH, np.int64)
        while not read(block.counters, block.header, out):
            time.sleep(0.001)
        return out

    def count(self, name: str) -> int:
        """One counter, by its constant's name."""
        return int(self.counts()[getattr(counters, name)])

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * 4096

    def descriptors(self) -> int:
        """Those that stay: the fewest of several counts, since a worker opens a file now and then, to read its size."""
        counts = []
        for _ in range(10):
            counts.append(len(list(Path(f"/proc/{self.pid}/fd").iterdir())))
            time.sleep(0.01)
        return min(counts)

    def eventually(self, holds: Callable[[], bool], within_s: float = SETTLED_S) -> bool:
        until = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    @contextmanager
    def raises_count(self, *names: str) -> Iterator[None]:
        """Each of these counters is higher afterwards."""
        before = {name: self.count(name) for name in names}
        yield
        for name, count in before.items():
            assert self.eventually(lambda name=name, count=count: self.count(name) > count), f"{name} stays at {count}"

    @contextmanager
    def keeps_count(self, *names: str) -> Iterator[None]:
        """None of these counters is higher afterwards."""
        before = {name: self.count(name) for name in names}
        yield
        time.sleep(0.3)  # longer than counters take to be published
        assert {name: self.count(name) for name in names} == before

    def features(self, rows: int = 1) -> np.ndarray:
        return self._random.standard_normal((rows, 32)).astype(np.float32)

    def mlp_call(self, features: np.ndarray | None = None) -> bytes:
        """A framed request to the perceptron."""
        inputs = {"features": self.features() if features is None else features}
        return framed(predict_request("mlp", inputs).SerializeToString())

    def wide_call(self, rows: int) -> bytes:
        """A framed request whose reply has 16 KiB for each of `rows` rows."""
        return framed(predict_request("wide", {"x": np.ones((rows, 1), np.float32)}).SerializeToString())

    def lookup_call(self, rows: int) -> bytes:
        """A framed request of many rows and few bytes."""
        return framed(predict_request("lookup", {"index": np.zeros(rows, np.int64)}).SerializeToString())

    def slow_call(self, turns: int) -> bytes:
        """A framed request that the runner works on for about `turns` x 0.1 ms."""
        return framed(predict_request("slow", {"turns": np.array(turns, np.int64)}).SerializeToString())

    def verify(self, peer: RawPeer, rows: int = 1) -> None:
        """A call with random rows whose answer is bare ONNX Runtime's."""
        from protos.roost.v1 import predict_pb2

        features = self.features(rows)
        answer = peer.ask(self.mlp_call(features))
        assert answer.status == 0, f"neighbour: {answer}"
        scores = predict_outputs(predict_pb2.PredictReply.FromString(answer.message))["scores"]
        expected = bare(self.models["mlp"], {"features": features})["scores"]
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """A neighbour calls all the while and is answered right; afterwards nothing is held for anybody."""
        with Neighbour(self) as neighbour:
            yield
            neighbour.answers_once_more()
        self.settles()

    def settles(self) -> None:
        """Connections, slots, queued rows, and bytes of messages and replies go back to 0."""
        assert self.eventually(lambda: not self._held()), f"still held: {self._held()}"

    def _held(self) -> dict[str, int]:
        counts = self.counts()
        held = {name: int(counts[getattr(counters, name)]) for name in GAUGES}
        return {name: value for name, value in held.items() if value}


class Neighbour:
    """Another client's connection: calls with random rows, each answer verified."""

    PAUSE_S = 0.02

    def __init__(self, worker: AttackedWorker) -> None:
        self._worker = worker
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._answered = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Neighbour:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def answers_once_more(self) -> None:
        answered = self._answered
        assert self._worker.eventually(lambda: self._answered > answered or self._failure is not None)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with self._worker.peer() as peer:
                while not self._stop.wait(self.PAUSE_S):
                    self._worker.verify(peer)
                    self._answered += 1
        except BaseException as failure:  # noqa: BLE001, handed to the test's thread
            self._failure = failure


class Workers:
    """Workers by their limits."""

    def __init__(self, models: dict[str, Path], folder: Path) -> None:
        self._models = models
        self._folder = folder
        self._started: dict[tuple[tuple[str, float], ...], AttackedWorker] = {}

    def get(self, *, queue_rows_max: int = 256, max_batch_size: int = 64, **limits: float) -> AttackedWorker:
        key = (("queue_rows_max", queue_rows_max), ("max_batch_size", max_batch_size), *sorted(limits.items()))
        if key not in self._started:
            settings = Settings(
                server=ServerSettings(drain_timeout_s=2.0),
                batching=BatchingSettings(max_batch_size=max_batch_size, queue_rows_max=queue_rows_max),
                limits=LimitSettings(**limits),
                models=tuple(ModelSettings(name=name, onnx=path) for name, path in self._models.items()),
            )
            log = self._folder / f"{len(self._started)}.log"
            self._started[key] = AttackedWorker(WorkerProcess("fast", settings, log).__enter__(), self._models)
        return self._started[key]

    def stop(self) -> None:
        for worker in self._started.values():
            worker.process.__exit__()
