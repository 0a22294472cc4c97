"""A real `roost serve`: a bad canary comes home, and whatever is killed, what was decided goes on."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

import roost
from benchmarks.servers import Served
from protos.roost.v1 import admin_pb2, admin_pb2_grpc
from server.control.break_glass import GlassHolds, roll_back_locally
from server.control.journal_file import JournalFile
from server.lifecycle.journal import verify
from tests.cli.served_versions import MODEL, push_versions, row, scaled, serving
from tests.control.driven_server import operation

pytestmark = pytest.mark.timeout(240)  # the first start after a change compiles all kernels
LIMIT_S = 60.0


@contextmanager
def stub_of(server: Served) -> Iterator[Any]:
    with grpc.insecure_channel(server.ready["admin"]) as channel:
        yield admin_pb2_grpc.AdminStub(channel)  # type: ignore[no-untyped-call]


def state_of(stub: Any) -> admin_pb2.ModelState:
    request = admin_pb2.DescribeModelRequest(model=MODEL)
    state: admin_pb2.ModelState = stub.DescribeModel(request, timeout=LIMIT_S, wait_for_ready=True).model
    return state


def holds(condition: Callable[[], bool]) -> bool:
    """Not yet, also where the process asked was killed in mid-call: a channel learns of that by its next call."""
    try:
        return condition()
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds(condition):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def deploy(stub: Any, version: str, ppm: int) -> None:
    request = admin_pb2.DeployCanaryRequest(operation=operation(), model=MODEL, version=version, weight_ppm=ppm)
    stub.DeployCanary(request, timeout=LIMIT_S, wait_for_ready=True)


def test_a_canary_that_answers_nan_comes_home_by_itself_and_stays_away(tmp_path: Path) -> None:
    registry, digests = push_versions(tmp_path, [scaled(1), scaled(2, nan_beyond=10)])
    with serving(registry, tmp_path) as server, stub_of(server) as stub, roost.Client(server.ready["listen"]) as client:
        deploy(stub, "2", 200_000)
        for number in range(20_000):
            client.predict(MODEL, {"x": row(1 if number % 4 else 11)})
            if number % 50 == 0 and not state_of(stub).HasField("canary"):
                break
        state = state_of(stub)
        assert not state.HasField("canary")
        assert [one.digest for one in state.quarantined] == [digests[1]]
        words = stub.Explain(admin_pb2.ExplainRequest(model=MODEL), timeout=LIMIT_S).words
        assert any("non-finite" in sentence for sentence in words)
        with pytest.raises(grpc.RpcError, match="quarantine"):
            deploy(stub, "2", 200_000)
        with pytest.raises(GlassHolds, match="lives"):
            roll_back_locally(server.ready["pid"], MODEL, "ada", "it hurts")


def test_control_is_killed_and_then_everything_and_the_rollout_goes_on(tmp_path: Path) -> None:
    registry, digests = push_versions(tmp_path, [scaled(1), scaled(2)])
    with serving(registry, tmp_path) as server, stub_of(server) as stub, roost.Client(server.ready["listen"]) as client:
        deploy(stub, "2", 300_000)
        rollout = state_of(stub).rollout
        os.kill(server.ready["control"], signal.SIGKILL)
        seen = set()
        for _ in range(300):
            prediction = client.predict(MODEL, {"x": row(1)})
            assert prediction["y"][0, 0] == float(prediction.version)
            seen.add(prediction.version)
        assert seen == {"1", "2"}, "serving never stopped"
        until(lambda: state_of(stub).rollout.id == rollout.id)
        assert state_of(stub).weight_ppm == 300_000
        until(lambda: len(JournalFile(tmp_path / "state").lines()) == 3)
        os.kill(server.ready["pid"], signal.SIGKILL)  # and its children with it
        server.process.wait(LIMIT_S)
    served = json.loads((tmp_path / "state/served.json").read_text())
    assert served[MODEL]["digest"] == digests[0]
    with serving(registry, tmp_path) as server, stub_of(server) as stub:
        until(lambda: state_of(stub).weight_ppm == 300_000)
        assert (state_of(stub).rollout.id, state_of(stub).rollout.salt) == (rollout.id, rollout.salt)
        until(lambda: len(JournalFile(tmp_path / "state").lines()) == 5)
        assert verify((tmp_path / "state/journal.jsonl").read_bytes()).number == 5
