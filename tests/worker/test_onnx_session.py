"""Sessions through either of ONNX Runtime's two APIs: the same answers, the same words, the same life."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import psutil
import pytest

from benchmarks.models import mlp_model
from registry_client.onnx_model import read_onnx
from registry_client.tensors import Datatype, Signature, TensorSpec
from server.worker.freed_memory import trim_memory
from server.worker.models.bindings import KEPT_MAX
from server.worker.models.failures import SessionRefused
from server.worker.models.session import Api, OnnxSession
from server.worker.status import Code, StatusError
from tests.worker.onnx_graphs import (
    ANSWERS_OF_FOUR,
    FLOAT,
    ROWS_OF_FOUR,
    doubled,
    embedded,
    endless,
    heavy,
    model_bytes,
    node,
)

Open = Callable[[bytes], OnnxSession]
X = np.arange(8, dtype=np.float32).reshape(2, 4)
ENDS_WITHIN_S = 2.0  # a run that is told to end takes a millisecond; a busy machine more


@pytest.fixture(params=list(Api), ids=lambda api: api.value)
def opened(request: pytest.FixtureRequest) -> Open:
    def opened(content: bytes) -> OnnxSession:
        model = read_onnx(content)
        session = OnnxSession(model.model_bytes, model.signature, request.param)
        assert session.api is request.param
        return session

    return opened


def test_the_c_api_is_used_where_nothing_is_said() -> None:
    model = read_onnx(doubled())
    assert OnnxSession(model.model_bytes, model.signature).api is Api.C


@pytest.mark.parametrize("rows", [1, 7, 64])
def test_both_apis_give_the_same_bits(rows: int) -> None:
    model = read_onnx(mlp_model())
    features = np.random.default_rng(rows).normal(size=(rows, 32)).astype(np.float32)
    answers = [OnnxSession(model.model_bytes, model.signature, api).run({"features": features}) for api in Api]
    for name, array in answers[0].items():
        assert array.tobytes() == answers[1][name].tobytes()


def test_text_goes_in_and_out_as_bytes(opened: Open) -> None:
    session = opened(model_bytes([node("Identity", ["x"], ["y"])], {"x": (8, ["rows", 2])}, {"y": (8, ["rows", 2])}))
    texts = np.array([[b"", "ä€".encode()], [b"long " * 100, b"x"]], dtype=object)
    assert session.run({"x": texts})["y"].tolist() == texts.tolist()
    with pytest.raises(StatusError, match="INVALID_ARGUMENT: inputs: expected UTF-8 for a string tensor"):
        session.run({"x": np.array([[b"\xff", b""]], dtype=object)})


def test_bfloat16_goes_in_and_out_as_its_bits(opened: Open) -> None:
    session = opened(model_bytes([node("Identity", ["x"], ["y"])], {"x": (16, ["rows", 3])}, {"y": (16, ["rows", 3])}))
    bits = np.arange(6, dtype=np.uint16).reshape(2, 3)
    answer = session.run({"x": bits})["y"]
    assert (answer.dtype, answer.tolist()) == (np.dtype(np.uint16), bits.tolist())


def test_a_scalar_and_one_element_are_told_apart(opened: Open) -> None:
    session = opened(model_bytes([node("Add", ["x", "x"], ["y"])], {"x": (FLOAT, [])}, {"y": (FLOAT, [])}))
    answer = session.run({"x": np.arange(3, dtype=np.float32)[1]})["y"]
    assert (answer.shape, answer.tolist()) == ((), 2.0)


REFUSED = {
    "another width": (doubled, {"x": np.zeros((1, 5), np.float32)}, "Got: 5 Expected: 4"),
    "another rank": (doubled, {"x": np.zeros((1, 4, 1), np.float32)}, "rank"),
    "another type": (doubled, {"x": np.zeros((1, 4), np.float64)}, "Unexpected input data type"),
    "an index that is none": (embedded, {"index": np.array([0, 4])}, "indices element out of data bounds"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_run_that_cannot_be_made_is_the_callers_error(opened: Open, kind: str) -> None:
    content, inputs, words = REFUSED[kind]
    session = opened(content())
    with pytest.raises(StatusError, match="INVALID_ARGUMENT: inputs: expected values that the model can") as caught:
        session.run(inputs)
    assert words in caught.value.message
    good = {"x": X} if "x" in inputs else {"index": np.array([0, 1])}
    assert session.run(good)["y"].shape[0] == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", bytes(1000), doubled()[:-20], heavy(1)[:-100_000], mlp_model()[:700]],
    ids=["nothing", "garbage", "zeros", "truncated", "truncated weights", "half"],
)
@pytest.mark.parametrize("api", list(Api))
def test_bytes_that_are_no_model_are_refused_in_one_line(content: bytes, api: Api) -> None:
    spec = TensorSpec("x", Datatype.FP32, (-1, 4))
    with pytest.raises(SessionRefused) as caught:
        OnnxSession(content, Signature((spec,), (spec,)), api)
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_finite_is_an_answer(opened: Open) -> None:
    session = opened(model_bytes([node("Log", ["x"], ["y"])], ROWS_OF_FOUR, ANSWERS_OF_FOUR))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(session.run({"x": X - 4})["y"], np.log(X - 4))


def test_a_batch_is_computed_where_it_lies(opened: Open) -> None:
    session = opened(doubled())
    bindings = session.bindings()
    x, y = np.zeros((8, 4), np.float32), np.zeros((8, 4), np.float32)
    x[:] = np.arange(32).reshape(8, 4)
    assert bindings.bind_rows(3, 2, (x,), (y,))() is None
    np.testing.assert_array_equal(y[3:5], 2 * x[3:5])
    assert not y[:3].any()
    assert not y[5:].any()
    run = bindings.bind(1, 8, (x,), (y,))
    assert bindings.kept[1, 8] is run
    x += 1
    assert run() is None
    np.testing.assert_array_equal(y, 2 * x)


def test_a_batch_that_fails_says_so_and_does_not_raise(opened: Open) -> None:
    bindings = opened(embedded()).bindings()
    index, y = np.array([1, 9, 2]), np.zeros((3, 2), np.float32)
    failure = bindings.bind(0, 3, (index,), (y,))()
    assert isinstance(failure, StatusError)
    assert (failure.code, "out of data bounds" in failure.message) == (Code.INVALID_ARGUMENT, True)
    index[1] = 3
    assert bindings.kept[0, 3]() is None
    assert y.tolist() == [[2, 3], [6, 7], [4, 5]]


def test_so_many_bindings_are_kept_and_no_more(opened: Open) -> None:
    bindings = opened(doubled()).bindings()
    x, y = np.ones((KEPT_MAX + 3, 4), np.float32), np.zeros((KEPT_MAX + 3, 4), np.float32)
    for rows in range(1, KEPT_MAX + 4):
        bindings.bind(0, rows, (x,), (y,))
    assert list(bindings.kept) == [(0, rows) for rows in range(4, KEPT_MAX + 4)]
    assert bindings.kept[0, 4]() is None


def test_a_batch_that_never_ends_is_ended_and_the_next_one_runs(opened: Open) -> None:
    session = opened(endless())
    bindings, other = session.bindings(), session.bindings()
    x, y = X.copy(), np.zeros_like(X)
    run = bindings.bind(0, 2, (x,), (y,))
    for _ in range(3):
        assert isinstance(ended_from_outside(run, bindings.terminate), StatusError)
        bindings.recover()
    # Ending the runs of one is not ending those of another.
    bindings.terminate()
    began = threading.Event()
    thread = threading.Thread(target=lambda: (began.set(), other.bind(0, 2, (x,), (y,))()))
    thread.start()
    began.wait()
    thread.join(0.05)
    assert thread.is_alive()
    other.terminate()
    thread.join(ENDS_WITHIN_S)
    assert not thread.is_alive()


def test_a_call_that_never_ends_is_ended_alone(opened: Open) -> None:
    session = opened(endless())
    options = session.run_options()

    def run() -> Exception | None:
        try:
            session.run({"x": X}, options)
        except StatusError as error:
            return error
        return None

    assert isinstance(ended_from_outside(run, options.terminate), StatusError)


def ended_from_outside(run: Callable[[], Exception | None], terminate: Callable[[], None]) -> Exception | None:
    """What a run ends with in a thread of its own, which is told to end while this thread goes on."""
    results: list[Exception | None] = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    time.sleep(0.02)
    assert thread.is_alive(), "it ended by itself"
    told_s = time.monotonic()
    terminate()
    thread.join(ENDS_WITHIN_S)
    assert not thread.is_alive(), "it goes on"
    assert time.monotonic() - told_s < ENDS_WITHIN_S
    return results[0]


def test_a_session_that_was_closed_has_no_more_runs(opened: Open) -> None:
    session = opened(doubled())
    bindings = session.bindings()
    run = bindings.bind(0, 2, (X,), (np.zeros_like(X),))
    session.close()
    session.close()
    assert not bindings.kept
    assert run() is None, "a run that was bound before goes on to its end"
    for use in (lambda: session.run({"x": X}), session.bindings, session.run_options):
        with pytest.raises(RuntimeError, match="session: expected one that is open"):
            use()
    bindings.terminate()


def test_a_session_may_be_closed_while_it_runs(opened: Open) -> None:
    session = opened(endless())
    bindings = session.bindings()
    run = bindings.bind(0, 2, (X,), (np.zeros_like(X),))

    def close_and_terminate() -> None:
        session.close()
        time.sleep(0.02)
        bindings.terminate()

    assert isinstance(ended_from_outside(run, close_and_terminate), StatusError)


def test_closing_gives_the_memory_back(opened: Open) -> None:
    model = read_onnx(heavy(64))
    process = psutil.Process()
    x = np.ones((16, model.signature.inputs[0].shape[1]), np.float32)

    def load() -> OnnxSession:
        session = OnnxSession(model.model_bytes, model.signature, opened(doubled()).api)
        bindings = session.bindings()
        y = np.zeros_like(x)
        assert bindings.bind(0, 16, (x,), (y,))() is None
        assert (y == x.shape[1]).all()
        return session

    load().close()
    trim_memory()
    before_bytes = process.memory_info().rss
    for _ in range(3):
        session = load()
        assert process.memory_info().rss - before_bytes > 40 * 2**20, "it takes no memory, so that nothing is shown"
        session.close()
        trim_memory()
        assert process.memory_info().rss - before_bytes < 16 * 2**20


def test_rows_and_calls_may_come_from_several_threads(opened: Open) -> None:
    model = read_onnx(mlp_model())
    session = opened(mlp_model())
    wrong: list[object] = []

    def runs(seed: int) -> None:
        features = np.random.default_rng(seed).normal(size=(4, 32)).astype(np.float32)
        expected = session.run({"features": features})
        outputs = tuple(np.zeros_like(expected[spec.name]) for spec in model.signature.outputs)
        bindings = session.bindings()
        for turn in range(100):
            session.run({"features": features[: turn % 4 + 1]})
            failure = bindings.bind_rows(0, 4, (features,), outputs)()
            if failure is not None or any(
                got.tobytes() != expected[spec.name].tobytes()
                for got, spec in zip(outputs, model.signature.outputs, strict=True)
            ):
                wrong.append((seed, turn, failure))

    threads = [threading.Thread(target=runs, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
