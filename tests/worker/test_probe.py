"""The batchability probe, on real sessions: what it must catch and what it must let pass."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.models import mlp_model
from registry_client.onnx_model import read_onnx
from server.worker.models.probe import reason_against_batching
from server.worker.models.session import OnnxSession
from tests.worker.onnx_graphs import (
    ANSWERS_OF_FOUR,
    FLOAT,
    INT64,
    ROWS_OF_FOUR,
    Shape,
    centred,
    doubled,
    embedded,
    model_bytes,
    node,
)

AXIS_0 = {"axes": np.array([0])}


def reason(content: bytes, examples: tuple[dict[str, np.ndarray], ...] = ()) -> str | None:
    model = read_onnx(content)
    return reason_against_batching(model.signature, OnnxSession(model.model_bytes, model.signature).run, examples)


@pytest.mark.parametrize("content", [doubled(), embedded(), mlp_model()], ids=["doubled", "embedded", "mlp"])
def test_independent_rows_are_batched(content: bytes) -> None:
    assert reason(content) is None


def over_rows(operator: str, **attributes: int) -> bytes:
    return model_bytes([node(operator, ["x"], ["y"], **attributes)], ROWS_OF_FOUR, ANSWERS_OF_FOUR)


DEPENDENT = {
    "mean over rows": centred(),
    "softmax over rows": over_rows("Softmax", axis=0),
    "running sum over rows": model_bytes(
        [node("CumSum", ["x", "axes"], ["y"])], ROWS_OF_FOUR, ANSWERS_OF_FOUR, {"axes": np.array(0)}
    ),
    "largest of all rows": model_bytes(
        [node("ReduceMax", ["x", "axes"], ["most"], keepdims=1), node("Sub", ["x", "most"], ["y"])],
        ROWS_OF_FOUR, ANSWERS_OF_FOUR, AXIS_0,
    ),
    "the number of rows": model_bytes(
        [
            node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "zero"], ["count"]),
            node("Cast", ["count"], ["divisor"], to=FLOAT), node("Div", ["x", "divisor"], ["y"]),
        ],
        ROWS_OF_FOUR, ANSWERS_OF_FOUR, {"zero": np.array(0)},
    ),
    "chance": model_bytes(
        [node("RandomNormalLike", ["x"], ["noise"]), node("Add", ["x", "noise"], ["y"])], ROWS_OF_FOUR, ANSWERS_OF_FOUR
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEPENDENT)
def test_rows_that_depend_on_others_are_caught(kind: str) -> None:
    assert "depends on the other rows" in (reason(DEPENDENT[kind]) or "")


def test_an_output_that_is_not_one_row_for_each_is_caught() -> None:
    rows: dict[str, tuple[int, Shape]] = {"y": (FLOAT, ["n", 4])}
    total = model_bytes([node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)], ROWS_OF_FOUR, rows, AXIS_0)
    assert "output y has shape [1, 4], not [2, 4], in a batch of 2" in (reason(total) or "")
    twice = model_bytes([node("Concat", ["x", "x"], ["y"], axis=0)], ROWS_OF_FOUR, rows)
    assert "output y has shape [2, 4], not [1, 4], for row 0 alone" in (reason(twice) or "")


@pytest.mark.parametrize("shape", [[], [1, 4], ["a", "b"]])
def test_shapes_that_cannot_be_batched_are_named(shape: Shape) -> None:
    content = model_bytes([node("Add", ["x", "x"], ["y"])], {"x": (FLOAT, shape)}, {"y": (FLOAT, shape)})
    assert "input x has shape" in (reason(content) or "")


def test_equal_golden_rows_do_not_hide_a_dependence() -> None:
    assert "depends on the other rows" in (reason(centred(), ({"x": np.ones((4, 4), np.float32)},)) or "")


def only_large_indices() -> bytes:
    """Refuses made-up indices of 0 and 1: index - 100 must be at least 0."""
    return model_bytes(
        [node("Sub", ["index", "hundred"], ["from_zero"]), node("Gather", ["table", "from_zero"], ["y"], axis=0)],
        {"index": (INT64, ["rows"])},
        {"y": (FLOAT, ["rows", 2])},
        {"hundred": np.array([100]), "table": np.arange(8, dtype=np.float32).reshape(4, 2)},
    )


def test_golden_rows_are_tried_where_made_up_ones_are_refused() -> None:
    assert "probe rows could not be run" in (reason(only_large_indices()) or "")
    assert "probe rows could not be run" in (reason(only_large_indices(), ({"index": np.array([100, 100])},)) or "")
    assert reason(only_large_indices(), ({"index": np.array([100, 102])},)) is None
