"""Sessions and runs below the worker's: what is refused, what is kept alive, and by whom."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from native.ort.api import INVALID_ARGUMENT, OrtError, api
from native.ort.run import RUN_WORDS, run_prepared
from native.ort.session import Memory, Prepared, RunOptions, Session
from native.ort.values import BFLOAT16, BOOL, DOUBLE, FLOAT, FLOAT16, INT64, NUMPY_TYPES, STRING, over_array
from tests.worker.onnx_graphs import FLOAT as ONNX_FLOAT
from tests.worker.onnx_graphs import doubled, model_bytes, node

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def memory(array: np.ndarray, element_type: int = FLOAT) -> Memory:
    return Memory(array.ctypes.data, array.nbytes, array.shape, element_type)


def prepared(session: Session, x: np.ndarray, y: np.ndarray) -> Prepared:
    return session.prepare([memory(x)], [memory(y)], RunOptions())


def test_a_prepared_run_reads_and_writes_the_memory_it_was_given() -> None:
    x, y = X.copy(), np.zeros_like(X)
    run = prepared(Session(doubled(), ["x"], ["y"]), x, y)
    for factor in (1, 3):
        x[:] = X * factor
        assert run_prepared(run.words) == 0
        np.testing.assert_array_equal(y, X * factor * 2)


def test_a_run_that_fails_says_why_and_the_next_one_does_not() -> None:
    session, y = Session(doubled(), ["x"], ["y"]), np.zeros_like(X)
    wrong = prepared(session, np.zeros((2, 5), np.float32), y)
    for _ in range(3):
        status = run_prepared(wrong.words)
        assert status != 0
        error = wrong.failure(status)
        assert error.code == INVALID_ARGUMENT
        assert "Got: 5 Expected: 4" in str(error)
    assert run_prepared(prepared(session, X, y).words) == 0
    np.testing.assert_array_equal(y, X + X)


def test_a_prepared_run_keeps_its_session_alive() -> None:
    session, y = Session(doubled(), ["x"], ["y"]), np.zeros_like(X)
    run, gone = prepared(session, X, y), weakref.ref(session)
    del session
    gc.collect()
    assert gone() is not None
    assert run_prepared(run.words) == 0
    np.testing.assert_array_equal(y, X + X)
    del run
    assert gone() is None, "a session was not freed with the last of its runs"


def test_every_value_is_freed_with_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[int] = []
    session, release = Session(doubled(), ["x"], ["y"]), api().release

    def counted(name: str, address: int) -> None:
        release(name, address)
        if name == "ReleaseValue":
            freed.append(address)

    run = prepared(session, X, np.zeros_like(X))
    addresses = run.words[RUN_WORDS:].tolist()
    assert len(set(addresses)) == 2
    monkeypatch.setattr(api(), "release", counted)
    del run
    assert sorted(freed) == sorted(addresses)


@pytest.mark.parametrize("element_type", sorted(NUMPY_TYPES))
def test_every_element_type_goes_through_as_it_is(element_type: int) -> None:
    dtype = NUMPY_TYPES[element_type]
    array = np.frombuffer(bytes(range(2 * 3 * dtype.itemsize)), np.uint8).copy()
    array = (array & 1).view(np.bool_) if element_type == BOOL else array.view(dtype)
    session = Session(
        model_bytes([node("Identity", ["x"], ["y"])], {"x": (element_type, ["n", 3])}, {"y": (element_type, ["n", 3])}),
        ["x"],
        ["y"],
    )
    (result,) = session.run([(array.reshape(2, 3), element_type)])
    assert (result.dtype, result.shape) == (dtype, (2, 3))
    assert result.tobytes() == array.tobytes()
    assert result.flags.owndata or result.base.flags.owndata, "the caller does not own what it was given"


@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 0), (2, 2, 3)])
@pytest.mark.parametrize("element_type", [FLOAT, STRING])
def test_scalars_and_empty_arrays_keep_their_shape(shape: tuple[int, ...], element_type: int) -> None:
    free: list[int | str] = [f"d{index}" for index in range(len(shape))]
    graph = model_bytes([node("Identity", ["x"], ["y"])], {"x": (element_type, free)}, {"y": (element_type, free)})
    count = int(np.prod(shape))
    if element_type == STRING:
        array = np.empty(count, dtype=object)
        array[:] = [b"%d" % index for index in range(count)]
        array = array.reshape(shape)
    else:
        array = np.arange(count, dtype=np.float32).reshape(shape)
    (result,) = Session(graph, ["x"], ["y"]).run([(array, element_type)])
    assert result.shape == shape
    np.testing.assert_array_equal(result, array)


def test_texts_are_bytes_of_any_length_even_with_zeros_in_them() -> None:
    texts = np.array([b"", b"\0", b"a\0b", "ä€".encode(), b"x" * 100_000, b""], dtype=object)
    graph = model_bytes([node("Identity", ["x"], ["y"])], {"x": (STRING, ["n"])}, {"y": (STRING, ["n"])})
    (result,) = Session(graph, ["x"], ["y"]).run([(texts, STRING)])
    assert result.tolist() == texts.tolist()


def test_an_array_that_is_no_contiguous_one_is_read_as_it_looks() -> None:
    (result,) = Session(doubled(), ["x"], ["y"]).run([(np.asfortranarray(X)[::-1], FLOAT)])
    np.testing.assert_array_equal(result, 2 * X[::-1])


@pytest.mark.parametrize("element_type", [DOUBLE, INT64, FLOAT16, BFLOAT16])
def test_an_array_is_never_read_as_another_type(element_type: int) -> None:
    """A float32 read as float64 would be read beyond its end."""
    with pytest.raises(OrtError, match="Unexpected input data type"):
        over_array(api(), X, element_type)


def test_a_tensor_that_is_longer_than_its_memory_is_refused() -> None:
    session = Session(doubled(), ["x"], ["y"])
    short = Memory(X.ctypes.data, X.nbytes - 1, X.shape, FLOAT)
    with pytest.raises(OrtError, match="not enough space"):
        session.prepare([short], [memory(np.zeros_like(X))], RunOptions())


@pytest.mark.parametrize("names", [(["z"], ["y"]), (["x"], ["z"])])
def test_a_name_that_the_model_does_not_have_is_refused(names: tuple[list[str], list[str]]) -> None:
    with pytest.raises(OrtError, match="z"):
        Session(doubled(), *names).run([(X, FLOAT)])


def test_options_end_runs_until_they_recover() -> None:
    session, options = Session(doubled(), ["x"], ["y"]), RunOptions()
    options.terminate()
    with pytest.raises(OrtError, match="terminate"):
        session.run([(X, FLOAT)], options)
    np.testing.assert_array_equal(session.run([(X, FLOAT)])[0], X + X)
    options.recover()
    np.testing.assert_array_equal(session.run([(X, FLOAT)], options)[0], X + X)


def test_a_model_that_is_refused_leaves_no_session() -> None:
    graph = model_bytes([node("Nonsense", ["x"], ["y"])], {"x": (ONNX_FLOAT, [1])}, {"y": (ONNX_FLOAT, [1])})
    for _ in range(100):
        with pytest.raises(OrtError, match="Nonsense"):
            Session(graph, ["x"], ["y"])
