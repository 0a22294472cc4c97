"""The profiles in which versions change, in processes of their own, as people run them, against real servers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.servers import REPOSITORY, Served
from loadtests import served_model
from loadtests.claimed_versions import claimed_pool
from loadtests.standing_weight import PPM, Standing
from loadtests.trial_watched import FOLLOW_NS, Trial
from loadtests.verified_pool import WrongAnswer
from protos.inference import grpc_service_pb2 as oip
from protos.roost.v1 import predict_pb2 as v1
from tests.cli.served_versions import MODEL, push_versions, scaled, serving
from tests.oracles import split as oracle

pytestmark = pytest.mark.timeout(240)  # the first start after a change compiles all kernels

PROFILE_S_MAX = 100
VERSIONS = {"1": scaled(1), "2": scaled(2), "3": scaled(1, nan_beyond=0.5)}


@dataclass(frozen=True)
class Place:
    server: Served
    registry: str

    def run(self, profile: str, *arguments: str, registry: str = "") -> tuple[int, str]:
        """Exit code and all output of `python -m loadtests.PROFILE`."""
        where = ["--target", self.server.target, "--admin", self.server.ready["admin"], "--model", MODEL]
        ended = subprocess.run(
            [
                sys.executable, "-m", f"loadtests.{profile}", *where,
                "--registry", registry or self.registry, "-u", "4", "-r", "4", "--rows-max", "2", *arguments,
            ],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PROFILE_S_MAX,
            check=False,
        )  # fmt: skip
        return ended.returncode, ended.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("changing")
    registry, _ = push_versions(folder, list(VERSIONS.values()))
    with serving(registry, folder) as server:
        yield Place(server, registry)


def test_flips_under_load_end_without_a_wrong_or_failed_reply(place: Place):
    code, output = place.run("canary_flip", "--canary-version", "2", "-t", "5s", "--flip-ms", "50")
    assert code == 0, output
    flips, told = re.search(r"canary_flip: ([\d,]+) flips; replies: (.+)", output).groups()
    assert int(flips.replace(",", "")) >= 10
    assert "by version 1" in told
    assert "by version 2" in told
    code, output = place.run("canary_flip", "-t", "1s")
    assert code == 1, "what the profile deployed is taken back at its end"
    assert "expected a canary, got none. --canary-version V deploys one." in output


def test_replies_that_are_not_of_the_version_they_claim_fail_the_run(place: Place, tmp_path: Path):
    other, _ = push_versions(tmp_path, [scaled(1), scaled(7)])
    code, output = place.run("canary_flip", "--canary-version", "2", "-t", "2s", registry=other)
    assert code == 1
    assert "not what ONNX Runtime answers to the same rows" in output


def test_a_canary_that_answers_nan_is_home_by_itself(place: Place):
    code, output = place.run("bad_canary", "--canary-version", "3", "--weight", "20", "--after-s", "0.5")
    assert code == 0, output
    home = re.search(r"version 3 was home after [\d.]+ s and ([\d,]+) requests, in quarantine", output)
    assert home is not None, output
    answered, bad = re.search(r"it answered ([\d,]+), ([\d,]+) of them badly", output).groups()
    assert 0 < int(bad.replace(",", "")) <= int(answered.replace(",", "")) < int(home[1].replace(",", ""))
    code, output = place.run("bad_canary", "--canary-version", "3", "--warm-s", "0")
    assert code == 1
    assert (
        "version 3 was refused: FAILED_PRECONDITION: version: expected an artifact that is not in quarantine" in output
    )


def test_a_good_canary_does_not_go_home_and_that_fails_the_run(place: Place):
    code, output = place.run("bad_canary", "--canary-version", "2", "--warm-s", "0", "-t", "3s")
    assert code == 1
    assert "version 2 is not home" in output


@pytest.mark.parametrize("profile", ["canary_flip", "bad_canary"])
def test_a_run_without_what_it_needs_ends_at_once_and_says_why(place: Place, profile: str):
    code, output = place.run(profile, "--canary-version", "99", "-t", "20s")
    assert code == 1
    assert "version" in output
    assert "Traceback" not in output


# --- Claims, checked without a server --------------------------------------------------------------------------------
def reply_of(version: str, values: np.ndarray) -> v1.PredictReply:
    reply = v1.PredictReply(version=version)
    reply.outputs.add(name="y", datatype="FP32", shape=values.shape, raw=values.astype("<f4").tobytes())
    return reply


def test_a_reply_is_right_only_for_the_version_that_it_claims():
    pool = claimed_pool(MODEL, {"1": VERSIONS["1"], "2": VERSIONS["2"]}, cases=3, rows_max=2, seed=0)
    case = pool[0]
    answer = case.answers["2"].expected["y"]
    assert case.check_predict(reply_of("2", answer)) == "2"
    with pytest.raises(WrongAnswer, match="not what ONNX Runtime answers"):
        case.check_predict(reply_of("1", answer))
    with pytest.raises(WrongAnswer, match="expected a reply of version 1 or 2, got one of '3'"):
        case.check_predict(reply_of("3", answer))
    infer = oip.ModelInferResponse(model_version="1")
    infer.outputs.add(name="y", datatype="FP32", shape=answer.shape)
    infer.raw_output_contents.append(answer.tobytes())
    with pytest.raises(WrongAnswer):
        case.check_infer(infer)
    infer.model_version = "2"
    assert case.check_infer(infer) == "2"


def test_bad_is_what_is_not_finite():
    pool = claimed_pool(MODEL, {"1": VERSIONS["1"], "3": VERSIONS["3"]}, cases=20, rows_max=1, seed=0)
    assert not any(case.is_bad("1") for case in pool)
    bad = [case.is_bad("3") for case in pool]
    assert any(bad)
    assert not all(bad)


def test_versions_with_other_inputs_make_no_pool():
    from benchmarks.models import mlp_model

    with pytest.raises(ValueError, match="expected versions with the same inputs"):
        claimed_pool(MODEL, {"1": VERSIONS["1"], "2": mlp_model()}, cases=2, rows_max=2, seed=0)


def test_a_standing_weight_says_who_must_answer():
    half, salt = 500_000, 42
    assert Standing(0, "1", "2", salt).expected("") == "1"
    assert Standing(PPM, "1", "2", salt).expected("") == "2"
    assert Standing(half, "1", "2", salt).expected("") is None, "either may"
    for key in map(str, range(50)):
        expected = "2" if oracle.position(key.encode(), salt) < half else "1"
        assert Standing(half, "1", "2", salt).expected(key) == expected


def test_a_canary_that_answers_after_it_was_seen_to_be_home_is_wrong():
    trial = Trial("1", "2", deployed_ns=1, home_ns=1_000_000_000)
    assert trial.answered("2", True, began_ns=990_000_000, ended_ns=1_005_000_000) is None
    late = 1_000_000_000 + FOLLOW_NS + 1
    assert trial.answered("1", False, began_ns=late, ended_ns=late) is None
    assert isinstance(trial.answered("2", False, began_ns=late, ended_ns=late), WrongAnswer)
    assert (trial.canary_replies, trial.bad_replies) == (2, 1)


def test_what_counts_until_it_is_home_is_what_came_while_it_was_out():
    trial = Trial("1", "2")
    trial.answered("1", False, 0, 1)
    trial.deployed_ns = 2
    trial.answered("1", False, 2, 3)
    trial.answered("2", True, 2, 3)
    trial.failed("INTERNAL: x")
    assert "is not home: 3 requests, 1 bad replies" in trial.lines()[0]
    trial.home_ns = 1_000_000_002
    trial.answered("1", False, 5, 6)
    assert trial.lines()[0] == "version 2 was home after 1.00 s and 3 requests"
    assert "it answered 1, 1 of them badly, and failed 1" in trial.lines()[1]
    assert trial.lines()[2] == "  1 x INTERNAL: x"


def test_a_version_is_read_from_its_registry_by_number(place: Place):
    for version, model_bytes in VERSIONS.items():
        assert served_model.of_version(place.registry, MODEL, version) == model_bytes
    with pytest.raises(ValueError, match="9"):
        served_model.of_version(place.registry, MODEL, "9")
