"""What a model may be: several inputs, scalars, free dimensions, state, rows that depend on each other, ZipMap."""

from __future__ import annotations

import json

import numpy as np
import pytest

from protos.inference import grpc_service_pb2 as inference
from tests.behaviour.conftest import MAX_BATCH_SIZE, Served
from tests.behaviour.messages import Inputs, infer_outputs, infer_request, predict_outputs, predict_request

RNG = np.random.default_rng(11)


def answers(served: Served, model: str, inputs: Inputs) -> list[dict[str, np.ndarray]]:
    """The same question asked in all three ways."""
    return [
        predict_outputs(served.predict(predict_request(model, inputs), timeout=20)),
        infer_outputs(served.inference.ModelInfer(infer_request(model, inputs), timeout=20)),
        infer_outputs(served.inference.ModelInfer(infer_request(model, inputs, raw=False), timeout=20)),
    ]


CASES: dict[str, tuple[str, dict[str, np.ndarray]]] = {
    "one row": ("mlp", {"features": RNG.standard_normal((1, 32)).astype(np.float32)}),
    "several rows": ("mlp", {"features": RNG.standard_normal((7, 32)).astype(np.float32)}),
    "as many rows as a batch holds": (
        "mlp", {"features": RNG.standard_normal((MAX_BATCH_SIZE, 32)).astype(np.float32)},
    ),
    "more rows than a batch holds": (
        "mlp", {"features": RNG.standard_normal((3 * MAX_BATCH_SIZE + 5, 32)).astype(np.float32)},
    ),
    "no rows": ("mlp", {"features": np.empty((0, 32), np.float32)}),
    "two inputs": (
        "mixed", {"a": RNG.standard_normal((4, 3)).astype(np.float32), "b": np.array([[1], [2], [3], [4]])},
    ),
    "a scalar": ("scalar", {"x": np.array(2.5, np.float32)}),
    "no free dimension": ("fixed", {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}),
    "free dimensions": (
        "dynamic",
        {"a": RNG.standard_normal((2, 3)).astype(np.float32), "b": RNG.standard_normal((3, 5)).astype(np.float32)},
    ),
    "a free dimension of zero": ("dynamic", {"a": np.empty((2, 0), np.float32), "b": np.empty((0, 5), np.float32)}),
    "rows that depend on each other": ("centred", {"x": RNG.standard_normal((5, 4)).astype(np.float32)}),
    "indices": ("lookup", {"index": np.array([3, 0, 3])}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_what_bare_onnx_runtime_says(served: Served, case: str) -> None:
    model, inputs = CASES[case]
    expected = served.bare(model, inputs)
    for outputs in answers(served, model, inputs):
        assert list(outputs) == list(expected)
        for name, array in expected.items():
            assert (outputs[name].shape, outputs[name].dtype) == (array.shape, array.dtype)
            np.testing.assert_allclose(outputs[name], array, rtol=1e-5, atol=1e-6)


def test_state_goes_out_and_comes_in_again(served: Served) -> None:
    x = RNG.standard_normal((6, 4)).astype(np.float32)
    state = np.zeros((1, 4), np.float32)
    whole = served.bare("stateful", {"x": x, "state": state})["y"]
    parts = []
    for part in (x[:2], x[2:3], x[3:]):
        outputs = answers(served, "stateful", {"x": part, "state": state})[0]
        parts.append(outputs["y"])
        state = outputs["next_state"]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-5)


def test_inputs_may_come_in_any_order(served: Served) -> None:
    a, b = RNG.standard_normal((2, 3)).astype(np.float32), np.array([[5], [6]])
    expected = served.bare("mixed", {"a": a, "b": b})
    for outputs in answers(served, "mixed", {"b": b, "a": a}):
        np.testing.assert_allclose(outputs["sum"], expected["sum"], rtol=1e-5)


@pytest.mark.parametrize("wanted", [["next"], ["product", "sum"], ["next", "sum", "product"]])
def test_outputs_come_in_the_order_they_were_asked_for(served: Served, wanted: list[str]) -> None:
    inputs = {"a": np.ones((1, 3), np.float32), "b": np.array([[2]])}
    expected = served.bare("mixed", inputs)
    replies = (
        predict_outputs(served.predict(predict_request("mixed", inputs, outputs=wanted), timeout=20)),
        infer_outputs(served.inference.ModelInfer(infer_request("mixed", inputs, outputs=wanted), timeout=20)),
    )
    for outputs in replies:
        assert list(outputs) == wanted
        for name in wanted:
            np.testing.assert_allclose(outputs[name], expected[name])


def test_a_zipmap_is_served_as_label_and_probabilities(served: Served) -> None:
    rows = RNG.uniform(0.1, 7.0, (5, 4)).astype(np.float32)
    metadata = served.inference.ModelMetadata(inference.ModelMetadataRequest(name="iris"), timeout=20)
    assert {tensor.datatype for tensor in metadata.outputs} == {"INT64", "FP32"}
    assert json.loads(metadata.properties["class_labels"]) == [0, 1, 2]
    expected = served.bare("iris", {metadata.inputs[0].name: rows})
    label, probability = (output.name for output in metadata.outputs)
    for outputs in answers(served, "iris", {metadata.inputs[0].name: rows}):
        np.testing.assert_array_equal(outputs[label], expected[label])
        maps = np.array([[row[column] for column in range(3)] for row in expected[probability]], np.float32)
        np.testing.assert_allclose(outputs[probability], maps, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "batching"),
    [
        ("mlp", "on"), ("mixed", "on"), ("echo_bf16", "on"), ("lookup", "on"),
        ("centred", "off: output y depends on the other rows"), ("scalar", "off: input x has shape []"),
        ("stateful", "off: input state has shape [1, 4]"), ("echo_bytes", "off: input x is BYTES"),
    ],
)  # fmt: skip
def test_metadata_says_whether_rows_are_batched_and_why_not(served: Served, model: str, batching: str) -> None:
    metadata = served.inference.ModelMetadata(inference.ModelMetadataRequest(name=model), timeout=20)
    assert metadata.properties["batching"].startswith(batching)
