"""The drill's callers find a reply that is not its version's, and tell bad from wrong."""

from __future__ import annotations

import time

import numpy as np
import pytest

from protos.roost.v1 import predict_pb2
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun
from server.drills.model import BAD_FROM_AGE, FEATURES, INPUT, OUTPUT, model_bytes, population
from server.drills.traffic import Traffic, checked


def run_of(content: bytes) -> ReferenceRun:
    return ReferenceRun(content, read_onnx(content).signature)


ANSWERS = {"1": run_of(model_bytes()), "2": run_of(model_bytes(bias=0.1, nan_from_age=BAD_FROM_AGE))}
ROWS = population(np.random.default_rng(7), 50)
YOUNG = ROWS[ROWS[:, 0] < BAD_FROM_AGE]


def reply(version: str, rows: np.ndarray, of: str = "") -> predict_pb2.PredictReply:
    scores = ANSWERS[of or version]({INPUT: rows})[OUTPUT]
    found = predict_pb2.PredictReply(version=version)
    found.outputs.add(name=OUTPUT, datatype="FP32", shape=scores.shape, raw=scores.tobytes())
    return found


def test_the_right_answer_of_the_version_is_right_and_finite() -> None:
    found = checked(reply("1", ROWS), ROWS, ANSWERS, 5.0)
    assert (found.version, found.rows, found.bad, found.wrong, found.at_s) == ("1", 50, False, "", 5.0)


def test_what_a_bad_version_answers_is_bad_and_not_wrong() -> None:
    found = checked(reply("2", ROWS), ROWS, ANSWERS, 0.0)
    assert (found.bad, found.wrong) == (True, "")
    assert not checked(reply("2", YOUNG), YOUNG, ANSWERS, 0.0).bad


def test_another_versions_answer_is_wrong() -> None:
    assert "not what version 2 answers" in checked(reply("2", YOUNG, of="1"), YOUNG, ANSWERS, 0.0).wrong
    assert "expected version 1 or 2, got '3'" in checked(reply("3", YOUNG, of="1"), YOUNG, ANSWERS, 0.0).wrong


def test_too_few_scores_are_wrong() -> None:
    assert "expected 50 scores, got 0" in checked(predict_pb2.PredictReply(version="1"), ROWS, ANSWERS, 0.0).wrong


def test_a_shift_moves_one_feature_by_its_own_deviations_and_leaves_the_others() -> None:
    usual = population(np.random.default_rng(3), 20_000)
    moved = population(np.random.default_rng(3), 20_000, {"monthly_spend": 1.0})
    difference = (moved - usual).mean(axis=0)
    assert difference == pytest.approx([0.0, 0.0, 20.0, 0.0], abs=1e-3)
    with pytest.raises(KeyError, match="spend"):
        Traffic("127.0.0.1:1", ANSWERS, calls_per_s=1, rows=1).shift({"spend": 1.0})


def test_calls_that_fail_are_counted_as_what_they_are() -> None:
    with Traffic("127.0.0.1:1", ANSWERS, callers=1, calls_per_s=50, rows=1) as traffic:
        while not traffic.replies():
            time.sleep(0.01)
    tally = traffic.tally()
    assert tally.requests == sum(tally.wrong.values()) > 0
    assert all(text.startswith("UNAVAILABLE") for text in tally.wrong)
    assert tally.by_version == {}


def test_the_features_are_those_of_the_model() -> None:
    assert read_onnx(model_bytes()).signature.inputs[0].row_elements == len(FEATURES)
