"""What a call sends, what it raises and when it is tried again, by both clients against a scripted gRPC server."""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
import time
from collections.abc import Callable

import grpc
import numpy as np
import pytest

import roost
from roost import errors
from roost.v1 import predict_pb2

ROWS = np.arange(4, dtype=np.float32).reshape(2, 2)
FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]

Predict = Callable[..., roost.Prediction]


def _predict_blocking(target: str, *arguments: object, **options: object) -> roost.Prediction:
    of_client = {key: options.pop(key) for key in ("reply_bytes_max",) if key in options}
    with roost.Client(target, **of_client) as client:
        return client.predict(*arguments, **options)


def _predict_asyncio(target: str, *arguments: object, **options: object) -> roost.Prediction:
    async def predict() -> roost.Prediction:
        of_client = {key: options.pop(key) for key in ("reply_bytes_max",) if key in options}
        async with roost.aio.Client(target, **of_client) as client:
            return await client.predict(*arguments, **options)

    return asyncio.run(predict())


@pytest.fixture(params=[_predict_blocking, _predict_asyncio], ids=["blocking", "asyncio"])
def predict(request: pytest.FixtureRequest) -> Predict:
    return request.param


def _fail(code: grpc.StatusCode, times: int, scripted) -> None:
    """The first `times` calls end in `code`; later ones are answered."""
    answer = scripted.handler

    def handler(request, context):
        if len(scripted.requests) <= times:
            context.abort(code, "model: expected 'mlp', got 'nobody'.")
        return answer(request, context)

    scripted.handler = handler


def test_a_call_sends_its_arguments_and_returns_the_whole_reply(scripted, predict: Predict):
    prediction = predict(scripted.target, "mlp", {"x": ROWS}, version="7", routing_key="k", outputs=["x"], timeout_s=5)
    sent = scripted.requests[0]
    assert (sent.model, sent.version, sent.routing_key, list(sent.outputs)) == ("mlp", "7", "k", ["x"])
    np.testing.assert_array_equal(prediction["x"], ROWS)
    assert prediction["x"].dtype == np.float32
    assert (prediction.model, prediction.version, prediction.variant) == ("mlp", "7", "stable")
    assert (prediction.digest_prefix, prediction.prediction_id) == ("0123456789ab", "p1")


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_a_status_is_raised_as_its_class_with_the_servers_message(scripted, predict: Predict, code: grpc.StatusCode):
    _fail(code, 99, scripted)
    with pytest.raises(errors.RoostError) as raised:
        predict(scripted.target, "nobody", {"x": ROWS})
    assert type(raised.value) is type(errors.of_status(code, ""))
    assert str(raised.value) == "model: expected 'mlp', got 'nobody'."
    assert raised.value.code is code


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_only_unavailable_is_tried_again(scripted, predict: Predict, code: grpc.StatusCode):
    _fail(code, 2, scripted)
    if code is grpc.StatusCode.UNAVAILABLE:
        np.testing.assert_array_equal(predict(scripted.target, "mlp", {"x": ROWS})["x"], ROWS)
        assert len(scripted.requests) == 3
    else:
        with pytest.raises(errors.RoostError):
            predict(scripted.target, "mlp", {"x": ROWS})
        assert len(scripted.requests) == 1


def test_unavailable_is_given_up_after_four_attempts(scripted, predict: Predict):
    _fail(grpc.StatusCode.UNAVAILABLE, 99, scripted)
    with pytest.raises(errors.Unavailable):
        predict(scripted.target, "mlp", {"x": ROWS})
    assert len(scripted.requests) == 4


def test_a_port_where_nobody_listens_is_unavailable(predict: Predict):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take the port meanwhile
        with pytest.raises(errors.Unavailable, match="refused"):
            predict(f"127.0.0.1:{unused.getsockname()[1]}", "mlp", {"x": ROWS})


def test_a_late_answer_is_a_deadline_exceeded_in_time(scripted, predict: Predict):
    released = threading.Event()

    def late(request, context):
        released.wait(10)
        return predict_pb2.PredictReply()

    scripted.handler = late
    began = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded):
        predict(scripted.target, "mlp", {"x": ROWS}, timeout_s=0.2)
    assert time.monotonic() - began < 5
    released.set()


def test_the_deadline_travels_to_the_server(scripted, predict: Predict):
    left = []

    def measure(request, context):
        left.append(context.time_remaining())
        return predict_pb2.PredictReply()

    scripted.handler = measure
    predict(scripted.target, "mlp", {"x": ROWS}, timeout_s=100)
    predict(scripted.target, "mlp", {"x": ROWS})
    # grpcio rounds a deadline up to a coarser unit on its way.
    assert 90 < left[0] < 110
    assert 5 < left[1] < 11, "the client's own 10 s"


def test_a_reply_above_the_bound_is_refused(scripted, predict: Predict):
    with pytest.raises(errors.Overloaded, match="larger than max"):
        predict(scripted.target, "mlp", {"x": np.zeros(1000, np.float32)}, reply_bytes_max=1000)


def test_a_reply_that_does_not_fit_its_shape_is_a_bad_reply(scripted, predict: Predict):
    tensor = predict_pb2.Tensor(name="y", datatype="FP32", shape=[2], raw=b"1234")
    scripted.handler = lambda request, context: predict_pb2.PredictReply(outputs=[tensor])
    with pytest.raises(errors.BadReply, match=r"outputs\['y'\]"):
        predict(scripted.target, "mlp", {"x": ROWS})


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("mlp", {"x": np.zeros(1, complex)}), {}, r"inputs\['x'\]: expected dtype"),
        (("mlp", [ROWS]), {}, "inputs: expected a mapping"),
        (("mlp", {1: ROWS}), {}, "inputs: expected str as names, got int 1"),
        (("mlp", {"x": ROWS}), {"outputs": "scores"}, r"outputs: expected a list of names, got the string 'scores'"),
        (("mlp", {"x": ROWS}), {"outputs": [1]}, "outputs: expected str as names, got int 1"),
        ((None, {"x": ROWS}), {}, "model: expected a str, got NoneType"),
        (("mlp", {"x": ROWS}), {"version": 3}, "version: expected a str, got int 3"),
        (("mlp", {"x": ROWS}), {"routing_key": b"k"}, "routing_key: expected a str, got bytes"),
        (("mlp", {"x": ROWS}), {"timeout_s": 0}, "timeout_s: expected seconds above 0"),
        (("mlp", {"x": ROWS}), {"timeout_s": float("nan")}, "timeout_s: expected seconds above 0"),
        (("mlp", {"x": ROWS}), {"timeout_s": "1"}, "timeout_s: expected seconds above 0"),
        (("mlp", {"\ud800": ROWS}), {}, "which is not valid UTF-8"),
        (("\ud800", {"x": ROWS}), {}, "which is not valid UTF-8"),
        (("mlp", {"x": np.array(["\ud800"])}), {}, r"inputs\['x'\]: .*UTF-8"),
    ],
)
def test_an_argument_that_cannot_be_sent_is_refused_before_the_call(
    scripted, predict: Predict, arguments: tuple, options: dict, message: str
):
    with pytest.raises(errors.InvalidInput, match=message) as refused:
        predict(scripted.target, *arguments, **options)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert scripted.requests == []


@pytest.mark.parametrize("target", ["", None, "http://127.0.0.1:80", "grpc://127.0.0.1:80"])
@pytest.mark.parametrize("client", [roost.Client, roost.aio.Client])
def test_a_target_that_is_none_is_refused_at_once(client: type, target: object):
    with pytest.raises(errors.InvalidInput, match="target: expected 'host:port'"):
        client(target)


def test_a_closed_client_says_so(scripted):
    client = roost.Client(scripted.target)
    client.close()
    client.close()
    with pytest.raises(errors.Cancelled, match="got a closed one"):
        client.predict("mlp", {"x": ROWS})


async def test_a_closed_asyncio_client_says_so(scripted):
    client = roost.aio.Client(scripted.target)
    await client.close()
    await client.close()
    with pytest.raises(errors.Cancelled, match="got a closed one"):
        await client.predict("mlp", {"x": ROWS})


async def test_cancelling_the_task_cancels_the_call_at_the_server(scripted):
    began, ended = threading.Event(), threading.Event()

    def wait_for_the_end(request, context):
        context.add_callback(ended.set)
        began.set()
        ended.wait(10)
        return predict_pb2.PredictReply()

    scripted.handler = wait_for_the_end
    async with roost.aio.Client(scripted.target) as client:
        task = asyncio.create_task(client.predict("mlp", {"x": ROWS}))
        assert await asyncio.to_thread(began.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ended.wait, 5)


def test_one_client_serves_many_threads(scripted):
    wrong = []
    with roost.Client(scripted.target) as client:

        def call(number: int) -> None:
            for step in range(20):
                row = np.array([number, step], np.int64)
                if client.predict("mlp", {"x": row})["x"].tolist() != row.tolist():
                    wrong.append((number, step))

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(scripted.requests) == 160


def test_both_clients_offer_the_same_methods_with_the_same_arguments():
    def offered(client: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(found)
            for name, found in inspect.getmembers(client, inspect.isfunction)
            if not name.startswith("_") or name == "__init__"
        }

    assert offered(roost.Client) == offered(roost.aio.Client)


def _hold_calls(scripted) -> tuple[threading.Event, threading.Event]:
    """Calls wait for the second event, after they have set the first."""
    began, released = threading.Event(), threading.Event()

    def hold(request, context):
        began.set()
        released.wait(10)
        return predict_pb2.PredictReply()

    scripted.handler = hold
    return began, released


def test_closing_the_client_ends_the_calls_of_other_threads_with_cancelled(scripted):
    began, released = _hold_calls(scripted)
    client, raised = roost.Client(scripted.target), []

    def call() -> None:
        try:
            client.predict("mlp", {"x": ROWS})
        except errors.RoostError as error:
            raised.append(type(error))

    thread = threading.Thread(target=call)
    thread.start()
    assert began.wait(5)
    client.close()
    thread.join(5)
    released.set()
    assert raised == [errors.Cancelled]


async def test_closing_the_asyncio_client_ends_the_calls_of_other_tasks_with_cancelled(scripted):
    began, released = _hold_calls(scripted)
    client = roost.aio.Client(scripted.target)
    task = asyncio.create_task(client.predict("mlp", {"x": ROWS}))
    assert await asyncio.to_thread(began.wait, 30)
    await client.close()
    done, _ = await asyncio.wait({task}, timeout=30)
    released.set()
    assert done == {task}
    assert not task.cancelled(), "nobody cancelled the task"
    assert type(task.exception()) is errors.Cancelled


async def test_a_cancelled_task_is_cancelled_even_where_its_client_has_closed(scripted):
    began, released = _hold_calls(scripted)
    client = roost.aio.Client(scripted.target)
    task = asyncio.create_task(client.predict("mlp", {"x": ROWS}))
    assert await asyncio.to_thread(began.wait, 30)
    task.cancel()
    await client.close()
    await asyncio.wait({task}, timeout=30)
    released.set()
    assert task.cancelled()
