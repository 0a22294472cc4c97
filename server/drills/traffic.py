"""Callers of a drill's server: rows of the population over real gRPC, every reply held to the version that it claims.

A few threads, each with a connection of its own and one call in flight, at a stated pace. Used by the incidents.
Always: a reply is right, wrong or failed, and each is kept with when it came, so that what happened between two moments
can be counted afterwards.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import grpc
import numpy as np

from protos.roost.v1 import predict_pb2, predict_pb2_grpc
from registry_client.golden import Run
from server.drills.model import FEATURES, INPUT, NAME, OUTPUT, Rows, population

CALL_S_MAX: Final = 5.0
RTOL, ATOL = 1e-5, 1e-6
STOP_S_MAX: Final = CALL_S_MAX + 1.0
# Loopback, whatever proxy the environment names; a connection for each caller.
OPTIONS: Final = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))


@dataclass(frozen=True)
class Reply:
    """A call that has ended. at_s: by the wall's clock, seconds since 1970. version: empty where there was no reply.

    bad: its values are not finite. wrong: what it should not have been, or why it failed; empty for a right one.
    """

    at_s: float
    version: str
    rows: int
    bad: bool
    wrong: str = ""


@dataclass(frozen=True)
class Tally:
    """What came between two moments. by_version: replies. wrong: replies and failures that were not right, by text."""

    requests: int
    rows: int
    bad: int
    by_version: Mapping[str, int]
    wrong: Mapping[str, int]


def checked(reply: predict_pb2.PredictReply, rows: Rows, answers: Mapping[str, Run], at_s: float) -> Reply:
    """The reply, held to what the version that it claims answers to these rows."""
    found = next((tensor for tensor in reply.outputs if tensor.name == OUTPUT), None)
    values = np.frombuffer(b"" if found is None else found.raw, "<f4")
    bad = not bool(np.isfinite(values).all())
    wrong = ""
    if reply.version not in answers:
        wrong = f"expected version {' or '.join(answers)}, got {reply.version!r}"
    elif values.size != len(rows):
        wrong = f"expected {len(rows)} scores, got {values.size}"
    else:
        right = answers[reply.version]({INPUT: rows})[OUTPUT].ravel()
        if not np.allclose(values, right, RTOL, ATOL, equal_nan=True):
            wrong = f"not what version {reply.version} answers to these rows"
    return Reply(at_s, reply.version, len(rows), bad, wrong)


class Traffic:
    """Use as a context manager. target: host:port. answers: by version, the model's own run.

    callers: threads. calls_per_s: of all of them together. rows: of each call.
    """

    def __init__(
        self, target: str, answers: Mapping[str, Run], *, callers: int = 4, calls_per_s: float, rows: int
    ) -> None:
        self._target = target
        self._answers = answers
        self._pause_s = callers / calls_per_s
        self._rows = rows
        self._replies: list[Reply] = []
        self._shift: Mapping[str, float] = {}
        self._over = threading.Event()
        self._problem: Exception | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(seed,), name=f"caller {seed}", daemon=True)
            for seed in range(callers)
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(STOP_S_MAX)
        if self._problem is not None and error is None:
            raise self._problem

    def shift(self, shift: Mapping[str, float]) -> float:
        """From now on rows are moved by so many standard deviations, by feature. Returns the moment, as `Reply.at_s`.

        Raises KeyError for a feature that the model does not have.
        """
        for name in shift:
            if name not in FEATURES:
                raise KeyError(name)
        self._shift = dict(shift)
        return time.time()

    def replies(self, since_s: float = 0.0, until_s: float = float("inf")) -> list[Reply]:
        """Those that came at or after the first moment, and before the second."""
        return [reply for reply in list(self._replies) if since_s <= reply.at_s < until_s]

    def tally(self, since_s: float = 0.0, until_s: float = float("inf")) -> Tally:
        found = self.replies(since_s, until_s)
        return Tally(
            requests=len(found),
            rows=sum(reply.rows for reply in found),
            bad=sum(reply.bad for reply in found),
            by_version=dict(sorted(Counter(reply.version for reply in found if reply.version).items())),
            wrong=dict(Counter(reply.wrong for reply in found if reply.wrong)),
        )

    def _run(self, seed: int) -> None:
        try:
            with grpc.insecure_channel(self._target, OPTIONS) as channel:
                stub: Any = predict_pb2_grpc.PredictionStub(channel)  # type: ignore[no-untyped-call]
                random = np.random.default_rng(seed)
                due_s = time.monotonic() + self._pause_s * random.random()
                while not self._over.wait(max(0.0, due_s - time.monotonic())):
                    self._replies.append(self._call(stub, population(random, self._rows, self._shift)))
                    # From now on where it is late: a burst of what was missed would be traffic of another kind.
                    due_s = max(due_s + self._pause_s, time.monotonic())
        except Exception as problem:  # noqa: BLE001  # whatever it is, it is raised where the traffic is left
            self._problem = problem

    def _call(self, stub: Any, rows: Rows) -> Reply:
        request = predict_pb2.PredictRequest(model=NAME)
        request.inputs.add(name=INPUT, datatype="FP32", shape=rows.shape, raw=rows.astype("<f4").tobytes())
        try:
            reply = stub.Predict(request, timeout=CALL_S_MAX)
        except grpc.RpcError as error:
            failed: Any = error
            return Reply(time.time(), "", len(rows), False, f"{failed.code().name}: {failed.details()}")
        return checked(reply, rows, self._answers, time.time())
