"""Several versions of one model in one worker: who answers, what the reply says, what is counted; on both listeners."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest

from benchmarks.swaps.versions import NAME, Versions, scaled
from native.plane.routes import SeatRef
from protos.inference import grpc_service_pb2 as inference
from protos.inference import grpc_service_pb2_grpc
from protos.roost.v1 import predict_pb2
from tests.adversity.raw_peer import RawPeer, call_headers, framed
from tests.behaviour.messages import infer_request
from tests.behaviour.worker_process import LISTENERS
from tests.oracles.split import position
from tests.worker.bad_versions import alone
from tests.worker.operated import FIRST, OperatedWorker, asked, factor_in, predict, rows

SALT = 77
HALF = 500_000
KEYS = [f"user-{number}" for number in range(40)]


class Rollout:
    """Version 1 is the stable, version 2 the canary, of a model that batches or does not."""

    def __init__(self, worker: OperatedWorker, channel: grpc.Channel, canary: SeatRef, batches: bool) -> None:
        self.batches = batches
        self.worker = worker
        self.channel = channel
        self.canary = canary

    def ask(self, **fields: str) -> predict_pb2.PredictReply:
        metadata = [(name[1:].replace("_", "-"), fields.pop(name)) for name in list(fields) if name.startswith("_")]
        return predict(self.channel)(asked(**fields), metadata=metadata, timeout=20)

    def counted(self, epoch: int, expected: dict[int, tuple[int, int]]) -> None:
        """(answered, of these evidence) by seat, under these weights: told just after the replies."""
        deadline_s = time.monotonic() + 2
        while (seen := {s: (c.answered, c.requests) for s, c in self.worker.cells(epoch).items()}) != expected:
            assert time.monotonic() < deadline_s, (seen, expected)


@pytest.fixture(scope="module", params=[(name, kind) for name in LISTENERS for kind in ("batched", "alone")], ids=str)
def rollout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollout]:
    listener, kind = request.param
    folder = tmp_path_factory.mktemp("versions")
    versions = Versions(folder)
    versions.push_scaled(2, scaled if kind == "batched" else alone)
    with OperatedWorker(listener, versions, folder) as worker, worker.channel() as channel:
        yield Rollout(worker, channel, worker.load(2), kind == "batched")


def is_canarys(key: str) -> bool:
    return position(key.encode(), SALT) < HALF


def test_a_key_decides_who_answers_and_the_reply_names_it(rollout: Rollout) -> None:
    epoch = rollout.worker.route(FIRST, canary=rollout.canary, canary_ppm=HALF, salt=SALT)
    for number, key in enumerate(KEYS):
        reply = rollout.ask(routing_key=key) if number % 2 else rollout.ask(_roost_routing_key=key)
        expected = ("2", "canary", 2.0) if is_canarys(key) else ("1", "stable", 1.0)
        assert (reply.version, reply.variant, factor_in(reply)) == expected
        assert rollout.worker.versions.digests[int(reply.version)].startswith(reply.digest_prefix)
    canaries = sum(map(is_canarys, KEYS))
    rollout.counted(epoch, {0: (len(KEYS) - canaries,) * 2, rollout.canary.seat: (canaries,) * 2})


def test_keyless_traffic_is_split_exactly_at_a_blocks_end(rollout: Rollout) -> None:
    rollout.worker.route(FIRST, canary=rollout.canary, canary_ppm=100_000, salt=SALT)
    variants = [rollout.ask().variant for _ in range(100)]
    assert variants.count("canary") == 10


def test_a_caller_may_choose_the_variant_and_that_is_no_evidence(rollout: Rollout) -> None:
    epoch = rollout.worker.route(FIRST, canary=rollout.canary, canary_ppm=0, salt=SALT)
    said = [rollout.ask(_roost_variant=variant) for variant in ("stable", "canary")] + [rollout.ask(version="2")]
    assert [(reply.version, reply.variant) for reply in said] == [("1", "stable"), ("2", "canary"), ("2", "canary")]
    rollout.counted(epoch, {0: (1, 0), rollout.canary.seat: (2, 0)})


def test_a_retry_is_answered_and_is_no_evidence(rollout: Rollout) -> None:
    epoch = rollout.worker.route(FIRST)
    # By hand: C-core's client says itself how often it has tried.
    message = framed(asked().SerializeToString())
    with RawPeer(rollout.worker.port) as peer:
        for headers in (call_headers(grpc_previous_rpc_attempts="1"), call_headers()):
            assert peer.ask(message, headers).status == 0
    rollout.counted(epoch, {0: (2, 1)})


def test_a_promoted_canary_is_called_stable(rollout: Rollout) -> None:
    rollout.worker.route(rollout.canary, last_safe=FIRST)
    assert (rollout.ask().version, rollout.ask().variant) == ("2", "stable")
    metadata = grpc_service_pb2_grpc.GRPCInferenceServiceStub(rollout.channel).ModelMetadata(
        inference.ModelMetadataRequest(name=NAME), timeout=20
    )
    assert (metadata.versions, metadata.properties["variant"]) == (["2"], "stable")
    with pytest.raises(grpc.RpcError) as refused:
        rollout.ask(version="1")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert refused.value.details().startswith('version: expected "2", got "1"')


def test_metadata_of_a_canary_says_that_it_is_one(rollout: Rollout) -> None:
    rollout.worker.route(FIRST, canary=rollout.canary, canary_ppm=HALF, salt=SALT)
    stub = grpc_service_pb2_grpc.GRPCInferenceServiceStub(rollout.channel)
    said = [stub.ModelMetadata(inference.ModelMetadataRequest(name=NAME, version=v), timeout=20) for v in ("1", "2")]
    assert [metadata.properties["variant"] for metadata in said] == ["stable", "canary"]
    assert {metadata.properties["batching"] == "on" for metadata in said} == {rollout.batches}
    key = next(filter(is_canarys, KEYS))
    reply = stub.ModelInfer(infer_request(NAME, {"x": rows()}), metadata=[("roost-routing-key", key)], timeout=20)
    assert (reply.model_version, reply.parameters["variant"].string_param) == ("2", "canary")


def test_without_a_stable_callers_are_told_why_and_other_calls_go_on(rollout: Rollout) -> None:
    rollout.worker.route(None)
    with pytest.raises(grpc.RpcError) as refused:
        rollout.ask()
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details().startswith('model: no safe version of "scaled" is left to serve.')
    rollout.worker.route(FIRST)
    assert rollout.ask().version == "1"
