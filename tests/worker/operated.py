"""A worker without a control process, and a test that does what control would: fills seats, publishes routes, waits.

Versions come from a folder registry; version k's right answer is k's factor times x.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from onnx import TensorProto

from benchmarks.swaps.versions import NAME, WIDTH, Versions, graph_bytes, node
from native.plane.evidence import Cell, EvidenceReader
from native.plane.routes import Route, RouteTables, SeatRef
from native.plane.routing import SEAT_STATE_EMPTY, SEAT_STATE_READY
from native.plane.seats import SeatTable, WorkerSeats
from protos.roost.v1 import predict_pb2, predict_pb2_grpc
from server.settings import LifecycleSettings, ModelSettings, RegistrySettings, Settings
from tests.behaviour.messages import predict_request
from tests.behaviour.worker_process import WorkerProcess

WAIT_S = 60.0


def settings_of(versions: Versions, *others: ModelSettings, **sections: Any) -> Settings:
    """Of a server that serves the versions' one model, from their registry, and other models beside it."""
    return Settings(
        models=(ModelSettings(name=NAME, reference="@stable"), *others),
        registry=RegistrySettings(path=versions.root, cache=versions.folder / "cache"),
        lifecycle=LifecycleSettings(pin_allowed=True),
        **sections,
    )


class OperatedWorker(WorkerProcess):
    """Serves @stable in seat 0 at first. `versions` may grow meanwhile."""

    def __init__(
        self, listener: str, versions: Versions, folder: Path, *others: ModelSettings, **sections: Any
    ) -> None:
        super().__init__(listener, settings_of(versions, *others, **sections), folder / f"{listener}.log")
        self.versions = versions
        self.seats = SeatTable(self.plane)
        self.tables = RouteTables(self.plane)
        self.told = WorkerSeats(self.plane.block(0))
        self.weight_epoch = 1
        self.others = self.tables.current()[1][1 : 1 + len(others)]

    # --- As control does it --------------------------------------------------------------------------------------
    def fill(self, version: int) -> SeatRef:
        """Gives a version a seat, without waiting."""
        index = self.seats.free_index()
        assert index is not None, "all seats are taken"
        seat = self.seats.fill(index, 0, str(version), self.versions.digests[version])
        return SeatRef(seat.index, seat.generation)

    def load(self, version: int) -> SeatRef:
        """Gives a version a seat, and waits until the worker has it."""
        ref = self.fill(version)
        self.until(lambda: self.told.state(ref.seat) == (SEAT_STATE_READY, ref.generation), f"version {version}")
        return ref

    def route(self, stable: SeatRef | None, *, salt: int = 0, **parts: Any) -> int:
        """Publishes a route and waits until the worker follows it; the weights' epoch."""
        self.weight_epoch += 1
        parts.setdefault("pin_allowed", True)
        route = Route(stable=stable, salt=salt, weight_epoch=self.weight_epoch, **parts)
        epoch = self.tables.publish([route, *self.others])
        self.until(lambda: self.tables.seen_by_all(epoch), f"epoch {epoch}")
        return self.weight_epoch

    def vacate(self, ref: SeatRef) -> None:
        """Takes a version out, and waits until the worker has let go of it."""
        self.seats.vacate(ref.seat)
        self.until(lambda: self.told.state(ref.seat)[0] == SEAT_STATE_EMPTY, f"seat {ref.seat} empty")

    def until(self, condition: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
        deadline_s = time.monotonic() + seconds
        while not condition():
            assert self.process is not None
            assert self.process.poll() is None, f"the worker ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline_s, f"not within {seconds:g} s: {what}\n{self.log.read_text()}"
            time.sleep(0.002)

    def cells(self, weight_epoch: int) -> dict[int, Cell]:
        """What was counted under these weights, by seat."""
        return {cell.seat: cell for cell in EvidenceReader(self.plane).read() if cell.weight_epoch == weight_epoch}

    def resident_bytes(self) -> int:
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


FIRST = SeatRef(0, 1)


def rows(count: int = 1, first: float = 1.0) -> np.ndarray:
    return np.full((count, WIDTH), first, np.float32)


def asked(values: np.ndarray | None = None, **fields: str) -> predict_pb2.PredictRequest:
    return predict_request(NAME, {"x": rows() if values is None else values}, **fields)


def predict(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
    return predict_pb2_grpc.PredictionStub(channel).Predict


def factor_in(reply: predict_pb2.PredictReply) -> float:
    """Of the first answer, where x was 1."""
    return float(np.frombuffer(reply.outputs[0].raw, np.float32)[0])


def counted_rows(factor: int) -> bytes:
    """y = factor * x, and one more for each further row of the call: rows that can't share a batch."""
    return graph_bytes(
        [
            node("Shape", ["x"], ["rows"], end=1),
            node("Cast", ["rows"], ["count"], to=TensorProto.FLOAT),
            node("Sub", ["count", "one"], ["more"]),
            node("Mul", ["x", "factor"], ["scaled"]),
            node("Add", ["scaled", "more"], ["y"]),
        ],
        {"factor": np.array([factor], np.float32), "one": np.ones(1, np.float32)},
    )
