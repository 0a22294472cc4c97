"""Calls as such: concurrency, deadlines, cancellation, compression, size, and counting."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from native.plane import counters
from native.plane.layout import HEADER_HEARTBEAT_NS
from protos.roost.v1 import predict_pb2, predict_pb2_grpc
from tests.behaviour.conftest import MESSAGE_BYTES_MAX, Served
from tests.behaviour.messages import (
    PREDICT,
    infer_outputs,
    infer_request,
    predict_outputs,
    predict_request,
)

FEATURES = np.zeros((1, 32), np.float32)


def test_concurrent_callers_get_their_own_rows_back(served: Served) -> None:
    def call_often(seed: int) -> int:
        rng = np.random.default_rng(seed)
        with served.worker.channel() as channel:
            stub = predict_pb2_grpc.PredictionStub(channel)
            for _ in range(15):
                a = rng.standard_normal((int(rng.integers(1, 38)), 3)).astype(np.float32)
                b = rng.integers(-9, 9, (len(a), 1))
                outputs = predict_outputs(stub.Predict(predict_request("mixed", {"a": a, "b": b}), timeout=30))
                expected = served.bare("mixed", {"a": a, "b": b})
                for name, array in expected.items():
                    assert outputs[name].dtype == array.dtype
                    np.testing.assert_allclose(outputs[name], array, rtol=1e-5, atol=1e-6)
        return seed

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(call_often, range(16))) == list(range(16))


def test_models_and_methods_mix_on_one_connection(served: Served) -> None:
    rng = np.random.default_rng(3)
    pending = []
    for turn in range(200):
        features = rng.standard_normal((1 + turn % 5, 32)).astype(np.float32)
        centred = rng.standard_normal((1 + turn % 7, 4)).astype(np.float32)
        pending.append((
            "mlp", {"features": features},
            served.inference.ModelInfer.future(infer_request("mlp", {"features": features}, raw=turn % 2 == 0)),
        ))  # fmt: skip
        pending.append(("centred", {"x": centred}, served.predict.future(predict_request("centred", {"x": centred}))))
    for model, inputs, call in pending:
        reply = call.result(timeout=30)
        outputs = predict_outputs(reply) if isinstance(reply, predict_pb2.PredictReply) else infer_outputs(reply)
        for name, array in served.bare(model, inputs).items():
            np.testing.assert_allclose(outputs[name], array, rtol=1e-5, atol=1e-6)


def test_a_callers_bad_values_do_not_fail_its_neighbours_in_a_batch(served: Served) -> None:
    calls = [
        served.predict.future(predict_request("lookup", {"index": np.array([99 if turn % 4 == 0 else turn % 4])}))
        for turn in range(80)
    ]
    for turn, call in enumerate(calls):
        if turn % 4 == 0:
            assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
        else:
            index = turn % 4
            np.testing.assert_array_equal(predict_outputs(call.result())["y"], [[2 * index, 2 * index + 1]])


def test_a_deadline_that_passes_fails_its_call_only(served: Served) -> None:
    slow = predict_request("slow", {"turns": np.array(3000)})
    with pytest.raises(grpc.RpcError) as caught:
        served.predict(slow, timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(served.predict(predict_request("mlp", {"features": FEATURES}), timeout=20).outputs) == 1


def test_cancelled_calls_disturb_nobody(served: Served) -> None:
    request = predict_request("mlp", {"features": FEATURES})
    expected = served.predict(request, timeout=20)
    calls = [served.predict.future(request, timeout=20) for _ in range(300)]
    for call in calls[::2]:
        call.cancel()
    for call in calls[1::2]:
        assert call.result() == expected


def test_a_client_that_leaves_disturbs_nobody(served: Served) -> None:
    request = predict_request("mlp", {"features": FEATURES})
    for _ in range(5):
        with served.worker.channel() as channel:
            predict = predict_pb2_grpc.PredictionStub(channel).Predict
            predict(request, timeout=20)
            pending = [predict.future(request, timeout=20) for _ in range(50)]
        assert {call.code() for call in pending} <= {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}
    assert served.predict(request, timeout=20)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_compressed_request_is_answered(served: Served, compression: grpc.Compression) -> None:
    request = predict_request("mlp", {"features": np.zeros((50, 32), np.float32)})
    if served.worker.listener == "fast" and compression is grpc.Compression.Deflate:
        # The lane offers gzip and identity, and says so.
        with pytest.raises(grpc.RpcError) as caught:
            served.predict(request, compression=compression, timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        return
    reply = served.predict(request, compression=compression, timeout=20)
    assert list(reply.outputs[0].shape) == [50, 2]


def test_a_message_over_the_limit_is_resource_exhausted(served: Served) -> None:
    message = predict_request("mlp", {"features": np.zeros((1, 32), np.float32)}).SerializeToString()
    with pytest.raises(grpc.RpcError) as caught:
        served.call(PREDICT, message + bytes(MESSAGE_BYTES_MAX))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.call(PREDICT, message)


def test_a_message_of_exactly_the_limit_is_read(served: Served) -> None:
    request = predict_request("mlp", {"features": FEATURES}, routing_key="k")
    request.routing_key = "k" * (1 + MESSAGE_BYTES_MAX - request.ByteSize() - 2)
    assert request.ByteSize() == MESSAGE_BYTES_MAX
    assert served.call(PREDICT, request.SerializeToString())


def test_every_call_is_counted_once_under_its_method_and_status(served: Served) -> None:
    block = served.worker.plane.block(0)

    def published() -> None:
        """Waits until the worker has published anew."""
        begun_ns, until = time.monotonic_ns(), time.monotonic() + 5
        while block.header[HEADER_HEARTBEAT_NS] <= begun_ns and time.monotonic() < until:
            time.sleep(0.02)

    def counted(method: int, status: grpc.StatusCode) -> int:
        return int(block.counters[counters.REQUESTS + method * counters.STATUS_COUNT + status.value[0]])

    published()
    before_ok = counted(counters.METHOD_PREDICT, grpc.StatusCode.OK)
    before_bad = counted(counters.METHOD_MODEL_INFER, grpc.StatusCode.NOT_FOUND)
    for _ in range(7):
        served.predict(predict_request("mlp", {"features": FEATURES}), timeout=20)
    for _ in range(3):
        with pytest.raises(grpc.RpcError):
            served.inference.ModelInfer(infer_request("nobody", {"features": FEATURES}), timeout=20)
    published()
    assert counted(counters.METHOD_PREDICT, grpc.StatusCode.OK) == before_ok + 7
    assert counted(counters.METHOD_MODEL_INFER, grpc.StatusCode.NOT_FOUND) == before_bad + 3
