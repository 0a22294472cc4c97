"""Serving's side: the same float32 as training's, bit for bit, whatever is sent; and the same bytes each time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pipelines.employment.features import FEATURES as EMPLOYMENT
from pipelines.examples import NUMBERS, TEXTS, Split
from pipelines.features.declaration import Code, Cycle, FeatureSet, Number, Text
from pipelines.features.graph import ENCODED, exposing, with_encoder
from pipelines.features.matrix import Kind, fit_encoder
from pipelines.flights.features import FEATURES as FLIGHTS
from pipelines.refusal import Refusal
from tests.pipelines.features.encoded_rows import (
    OF_ALL_KINDS,
    bits,
    body,
    encoded_by_graph,
    numbers,
    operators,
    session,
)
from tests.pipelines.features.hostile_rows import hostile_inputs

ROOT = Path(__file__).parents[3]
KINDS: tuple[Kind, ...] = ("ordinal", "one_hot")
ROWS = 10_000
X, Y = Number("x", "", -1e30, 1e30), Number("y", "", 0, 1)
SETS = {
    "all kinds": OF_ALL_KINDS,
    "one number": FeatureSet((X,)),
    "numbers": FeatureSet((X, Y, Number("z", "", -0.1, 0.3))),
    "one cycle": FeatureSet((Cycle("c", "", 7),)),
    "cycles": FeatureSet((Cycle("c", "", 1e-6), Cycle("d", "", 1e9))),
    "one code": FeatureSet((Code("c", "", {0: "a"}),)),
    "codes": FeatureSet((Code("c", "", {1: "a", 2: "b"}), Code("d", "", {-(2**22): "least", 2**22: "greatest"}))),
    "a number and a text": FeatureSet((Text("t", "", ("JFK", "日本")), Y)),
}


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> tuple[FeatureSet, Split]:
    return {"employment": EMPLOYMENT, "flights": FLIGHTS}[request.param], request.getfixturevalue(request.param)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ["employment", "flights"], indirect=True)
def test_ten_thousand_real_rows_reach_the_learner_as_they_did_in_training(
    rows: tuple[FeatureSet, Split], kind: Kind
) -> None:
    features, split = rows
    encoder = fit_encoder(features, kind, split.training.inputs())
    for part in (split.training, split.evaluation):
        by_graph, by_matrix = encoded_by_graph(encoder, part.inputs()), encoder.encode(part.inputs())
        assert by_graph.dtype == by_matrix.dtype == np.float32
        # Real rows agree in the sign of zero, too.
        assert np.array_equal(by_graph.view(np.uint32), by_matrix.view(np.uint32))
    assert len(split.training) + len(split.evaluation) >= ROWS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("features", SETS.values(), ids=SETS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_whatever_is_sent_reaches_the_learner_as_training_would_have_seen_it(
    features: FeatureSet, kind: Kind, data: st.DataObject
) -> None:
    encoder = fit_encoder(features, kind, _complete(features, data.draw(hostile_inputs(features))))
    inputs = data.draw(hostile_inputs(features))
    assert np.array_equal(bits(encoded_by_graph(encoder, inputs)), bits(encoder.encode(inputs)))


def test_known_codes_reach_the_trees_as_they_were_sent(employment: Split) -> None:
    sent = employment.evaluation.numbers
    encoder = fit_encoder(EMPLOYMENT, "ordinal", employment.training.inputs())
    assert np.array_equal(bits(encoded_by_graph(encoder, {NUMBERS: sent})), bits(sent))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_encoded_alone_as_in_company_and_no_rows_are_none(kind: Kind, flights: Split) -> None:
    part = flights.evaluation.take(np.arange(40))
    encoder = fit_encoder(FLIGHTS, kind, flights.training.inputs())
    model = session(exposing(with_encoder(encoder, body(encoder.width)), ENCODED))
    whole = model.run([ENCODED], part.inputs())[0]
    alone = [model.run([ENCODED], part.take(np.array([row])).inputs())[0] for row in range(len(part))]
    assert np.array_equal(bits(whole), bits(np.concatenate(alone)))
    assert model.run([ENCODED], part.take(np.array([], dtype=np.int64)).inputs())[0].shape == (0, encoder.width)


def test_employments_trees_pay_for_eight_nodes_and_no_more() -> None:
    # Of 100 trees on 256 rows 8 of them cost 2 to 3 per cent. Each further one is paid with every request.
    encoder = fit_encoder(EMPLOYMENT, "ordinal", {NUMBERS: np.zeros((1, 16), np.float32)})
    added = operators(with_encoder(encoder, body(16)))[:-1]
    assert len(added) <= 8, added


@pytest.mark.parametrize("kind", KINDS)
def test_only_standard_operators_are_used(kind: Kind) -> None:
    model = with_encoder(*_encoder_and_body(kind))
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx.ml"}
    onnx.checker.check_model(model, full_check=True)


def test_inputs_are_declared_as_they_are_sent() -> None:
    model = with_encoder(*_encoder_and_body("one_hot"))
    declared = {
        value.name: (value.type.tensor_type.elem_type, [dim.dim_param or dim.dim_value for dim in
                     value.type.tensor_type.shape.dim])
        for value in model.graph.input
    }  # fmt: skip
    assert declared == {NUMBERS: (TensorProto.FLOAT, ["rows", 6]), TEXTS: (TensorProto.STRING, ["rows", 2])}
    assert [value.name for value in model.graph.output] == ["prediction"]


def test_a_model_without_texts_takes_none() -> None:
    features = FeatureSet((X,))
    encoder = fit_encoder(features, "one_hot", numbers([1], [2]))
    model = with_encoder(encoder, body(1))
    assert [value.name for value in model.graph.input] == [NUMBERS]
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 15)]


DIGEST_OF_BOTH = """
import hashlib
from tests.pipelines.features.test_feature_graph import KINDS, digest_of
print(*map(digest_of, KINDS))
"""


def test_the_same_encoder_and_body_give_the_same_bytes_in_another_process() -> None:
    # Another seed of hashes is another order of every set.
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", DIGEST_OF_BOTH], env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [digest_of(kind) for kind in KINDS]


def digest_of(kind: Kind) -> str:
    encoder, _ = _encoder_and_body(kind)
    model = with_encoder(encoder, body(encoder.width, opset=9))
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


@pytest.mark.parametrize("opset", [9, 13, 15, 17, 21])
def test_a_body_answers_alike_whichever_operator_set_it_declares(opset: int) -> None:
    encoder, _ = _encoder_and_body("ordinal")
    inputs = {NUMBERS: np.array([[1, 2, 3, 0, 5, 6]], np.float32), TEXTS: np.array([["EWR", "BOS"]], object)}
    model = with_encoder(encoder, body(encoder.width, opset=opset))
    expected = encoder.encode(inputs).sum() * 0.5
    assert session(model).run(None, inputs)[0].tolist() == [[expected]]
    assert next(one.version for one in model.opset_import if not one.domain) == max(opset, 15)


def test_a_body_whose_input_is_called_as_ours_is_fed_what_was_encoded() -> None:
    encoder = fit_encoder(FeatureSet((Y,)), "one_hot", numbers([0], [1]))
    model = with_encoder(encoder, body(1, name=NUMBERS))
    assert session(model).run(None, numbers([1]))[0].tolist() == [[0.5]]


def test_the_body_that_was_given_is_left_as_it_was() -> None:
    encoder, given = _encoder_and_body("one_hot")
    before = given.SerializeToString(deterministic=True)
    exposing(with_encoder(encoder, given), ENCODED)
    assert given.SerializeToString(deterministic=True) == before


def _two_inputs(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["rows", 1]))


def _of_double(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


def _wider(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value += 1


def _of_unknown_width(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "columns"


def _with_a_name_of_ours(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "encoder/low"))


def _with_our_tensor(model: ModelProto) -> None:
    model.graph.node.add().CopyFrom(helper.make_node("Identity", ["prediction"], [ENCODED]))


def _with_a_graph_in_a_node(model: ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])])
    model.graph.node.add().CopyFrom(helper.make_node("If", ["c"], ["d"], then_branch=inner, else_branch=inner))


def _with_the_first_label_encoder(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    node = helper.make_node("LabelEncoder", ["a"], ["b"], domain="ai.onnx.ml", classes_strings=["x"])
    model.graph.node.add().CopyFrom(node)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_two_inputs, r"expected one input float32\[rows, 8\], got x of 8 columns, more of 1 columns"),
        (_of_double, r"expected one input float32"),
        (_wider, r"got x of 9 columns"),
        (_of_unknown_width, r"got x of 0 columns"),
        (_with_a_name_of_ours, r"expected no tensor .*, got encoder/low"),
        (_with_our_tensor, r"expected no tensor .*, got encoded"),
        (_with_a_graph_in_a_node, r"no graph in a node, got If"),
        (_with_the_first_label_encoder, r"no LabelEncoder of the first kind, got ai.onnx.ml 1"),
    ],
)
def test_a_body_that_can_not_be_fed_is_refused(spoil: Any, named: str) -> None:
    encoder, spoilt = _encoder_and_body("ordinal")
    spoil(spoilt)
    with pytest.raises(Refusal, match=named):
        with_encoder(encoder, spoilt)


def test_a_tensor_that_is_not_there_can_not_be_exposed() -> None:
    with pytest.raises(Refusal, match="tensor nowhere: expected one inside the graph"):
        exposing(with_encoder(*_encoder_and_body("ordinal")), "nowhere")


def _complete(features: FeatureSet, inputs: dict[str, Any]) -> dict[str, Any]:
    """With a row in which all is known: a model of no column is none."""
    known = [feature.points[0] if isinstance(feature, Code) else 0.0 for feature in features.numbers]
    complete = {NUMBERS: np.vstack([inputs[NUMBERS], np.array([known], np.float32)])}
    if features.texts:
        words = np.array([[text.values[0] for text in features.texts]], dtype=object)
        complete[TEXTS] = np.vstack([inputs[TEXTS], words])
    return complete


def _encoder_and_body(kind: Kind) -> tuple[Any, ModelProto]:
    inputs = {
        NUMBERS: np.array([[3, 1, 12, 1000, 50, 200], [np.nan, 2, 0, -3, np.nan, 3]], np.float32),
        TEXTS: np.array([["JFK", "JFK"], ["", "BOS"]], dtype=object),
    }
    encoder = fit_encoder(OF_ALL_KINDS, kind, inputs)
    return encoder, body(encoder.width)
