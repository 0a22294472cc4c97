"""Requests whose right answer is known for every version that may answer: each reply is held to the one that it claims.

Used by the load profiles in which versions change. Pure; no locust in here. Always: the rows of a case are the same for
all versions, so that which of them answers is the server's choice alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from loadtests.verified_pool import Case, WrongAnswer, is_of_trees, verified_pool
from protos.inference import grpc_service_pb2 as oip
from protos.roost.v1 import predict_pb2 as v1


@dataclass(frozen=True)
class ClaimedCase:
    """One request, and its right answer by version."""

    answers: Mapping[str, Case]

    @property
    def predict(self) -> v1.PredictRequest:
        return next(iter(self.answers.values())).predict

    @property
    def infer(self) -> oip.ModelInferRequest:
        return next(iter(self.answers.values())).infer

    def check_predict(self, reply: v1.PredictReply) -> str:
        """The version that `reply` claims. Raises WrongAnswer unless it is what that version answers."""
        self._claimed(reply.version).check_predict(reply)
        return reply.version

    def check_infer(self, reply: oip.ModelInferResponse) -> str:
        """As `check_predict`."""
        self._claimed(reply.model_version).check_infer(reply)
        return reply.model_version

    def is_bad(self, version: str) -> bool:
        """True where the right answer of `version` is not finite."""
        return not all(
            np.isfinite(output).all() for output in self.answers[version].expected.values() if output.dtype.kind == "f"
        )

    def _claimed(self, version: str) -> Case:
        if version not in self.answers:
            raise WrongAnswer(f"expected a reply of version {' or '.join(self.answers)}, got one of {version!r}")
        return self.answers[version]


def claimed_pool(
    model: str, versions: Mapping[str, bytes], *, cases: int, rows_max: int, seed: int, scale: float | None = None
) -> list[ClaimedCase]:
    """`cases` requests for `model`. versions: the ONNX model by version, all with the same inputs.

    Raises ValueError where their inputs differ, else as `verified_pool` does.
    """
    # As verified_pool takes them for trees: alike for all, or the rows would differ.
    counts = scale is None and any(map(is_of_trees, versions.values()))
    pools = [
        verified_pool(model, model_bytes, cases=cases, rows_max=rows_max, seed=seed, scale=scale, counts=counts)
        for model_bytes in versions.values()
    ]
    for same in zip(*pools, strict=True):
        if any(case.predict != same[0].predict for case in same):
            raise ValueError(f"expected versions with the same inputs, got {', '.join(versions)} with others.")
    return [ClaimedCase(dict(zip(versions, same, strict=True))) for same in zip(*pools, strict=True)]
