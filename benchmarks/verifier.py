"""A client that checks every answer against bare ONNX Runtime's, beside the load and at a low rate.

Used by side-by-side runs: h2load counts bytes, this one reads them. Always: one call in flight, random rows, and the
first wrong answer is kept and raised when the run ends.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from types import TracebackType

import grpc

from benchmarks.h2load_body import MODEL_INFER_PATH, PREDICT_PATH
from loadtests.verified_pool import Case, WrongAnswer
from protos.inference import grpc_service_pb2 as oip
from protos.roost.v1 import predict_pb2 as v1

PAUSE_S = 0.05
CALL_S_MAX = 20.0


def answer(channel: grpc.Channel, path: str, case: Case) -> bytes:
    """The reply to `case`, serialised as it came, after a check. Raises WrongAnswer or grpc.RpcError."""
    request = {PREDICT_PATH: case.predict, MODEL_INFER_PATH: case.infer}[path]
    call = channel.unary_unary(path, request_serializer=None, response_deserializer=None)
    reply: bytes = call(request.SerializeToString(), timeout=CALL_S_MAX)
    if path == PREDICT_PATH:
        case.check_predict(v1.PredictReply.FromString(reply))
    else:
        case.check_infer(oip.ModelInferResponse.FromString(reply))
    return reply


class Verifier:
    """Calls `path` of `target` from a thread while the `with` block runs. answers: so many were right."""

    def __init__(self, target: str, path: str, pool: Sequence[Case]) -> None:
        self.answers = 0
        self._target, self._path, self._pool = target, path, pool
        self._failure: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._call_until_ended, name="verifier", daemon=True)

    def __enter__(self) -> Verifier:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise WrongAnswer(f"{self._path} at {self._target}: {self._failure}") from self._failure

    def join(self, seconds: float) -> None:
        """Waits so long, or less where a call has failed."""
        self._thread.join(seconds)

    def _call_until_ended(self) -> None:
        cases = itertools.cycle(self._pool)
        try:
            with grpc.insecure_channel(self._target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                while not self._ended.is_set():
                    answer(channel, self._path, next(cases))
                    self.answers += 1
                    self._ended.wait(PAUSE_S)
        except (WrongAnswer, grpc.RpcError, ValueError) as failure:
            self._failure = failure
