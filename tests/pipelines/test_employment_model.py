"""The model: its graph answers as its trees do, it is good enough, and a worse one gets no further."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnxmltools import convert_lightgbm

from pipelines.employment import convert
from pipelines.employment.bundle import GOLDEN_ROW_COUNTS, golden_examples
from pipelines.employment.evaluate import NotGoodEnough, evaluate
from pipelines.employment.features import Examples
from pipelines.employment.train import Parameters, train

QUICK = Parameters(trees=20)


@pytest.fixture(scope="module")
def model_bytes(reference: Examples) -> bytes:
    return convert.to_onnx(train(reference, QUICK))


def test_the_same_examples_give_the_same_graph(reference: Examples, model_bytes: bytes) -> None:
    assert convert.to_onnx(train(reference, QUICK)) == model_bytes


def test_the_converters_order_of_operator_sets_does_not_matter(
    reference: Examples, model_bytes: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_another_order(*trees: object, **options: object) -> onnx.ModelProto:
        model = convert_lightgbm(*trees, **options)
        sets = list(model.opset_import)
        assert len(sets) > 1
        model.ClearField("opset_import")
        model.opset_import.extend(reversed(sets))
        return model

    monkeypatch.setattr(convert, "convert_lightgbm", in_another_order)
    assert convert.to_onnx(train(reference, QUICK)) == model_bytes


def test_another_parameter_gives_another_graph(reference: Examples, model_bytes: bytes) -> None:
    assert convert.to_onnx(train(reference, Parameters(trees=20, leaves=30))) != model_bytes


def test_the_label_is_declared_as_one_for_each_row(model_bytes: bytes) -> None:
    graph = onnx.load_from_string(model_bytes).graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {"features": ["rows", 16], "label": ["rows"], "probabilities": ["rows", 2]}


@pytest.mark.parametrize("rows", [1, 2, 37, 6000])
def test_outputs_have_a_row_for_each_row_of_input(rows: int, model_bytes: bytes, evaluation: Examples) -> None:
    labels, probabilities = convert.run(convert.session(model_bytes), evaluation.matrix[:rows])
    assert labels.shape == (rows,)
    assert labels.dtype == np.int64
    assert probabilities.shape == (rows, 2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_graph_and_trees_agree_on_every_row(reference: Examples, evaluation: Examples) -> None:
    classifier = train(reference, QUICK)
    parity = convert.check_parity(classifier, convert.session(convert.to_onnx(classifier)), evaluation)
    assert parity.rows == len(evaluation.labels)
    assert parity.probability_error_max <= convert.PROBABILITY_ERROR_MAX


def test_a_graph_of_other_trees_is_refused(reference: Examples, evaluation: Examples, model_bytes: bytes) -> None:
    others = train(reference, Parameters(trees=21))
    with pytest.raises(convert.ParityError, match=r"probabilities: expected .* at row"):
        convert.check_parity(others, convert.session(model_bytes), evaluation)


def test_a_graph_with_the_right_probabilities_and_wrong_labels_is_refused(
    reference: Examples, evaluation: Examples, model_bytes: bytes
) -> None:
    model = onnx.load_from_string(model_bytes)
    (source,) = [node for node in model.graph.node if "label" in node.output]
    source.output[list(source.output).index("label")] = "right"
    model.graph.node.append(onnx.helper.make_node("Neg", ["right"], ["label"]))
    with pytest.raises(convert.ParityError, match=r"label: .* rows differ"):
        convert.check_parity(train(reference, QUICK), convert.session(model.SerializeToString()), evaluation)


def test_scores_are_given_by_year_and_beat_the_majority(model_bytes: bytes, evaluation: Examples) -> None:
    scores = evaluate(convert.session(model_bytes), evaluation)
    assert [score.year for score in scores] == [2016, 2017, 2018]
    assert sum(score.rows for score in scores) == len(evaluation.labels)
    for score in scores:
        assert score.accuracy > max(score.employed_share, 1 - score.employed_share)
        assert score.auc > 0.8
        assert 0 < score.log_loss < 0.693


def test_a_model_that_is_wrong_in_one_year_is_refused_naming_it(model_bytes: bytes, evaluation: Examples) -> None:
    labels = np.where(evaluation.years == 2017, 1 - evaluation.labels, evaluation.labels)
    with pytest.raises(NotGoodEnough, match="2017: accuracy"):
        evaluate(convert.session(model_bytes), Examples(evaluation.matrix, labels, evaluation.years))


def test_golden_examples_hold_one_row_alone_and_some_together(model_bytes: bytes, evaluation: Examples) -> None:
    golden = golden_examples(model_bytes, convert.session(model_bytes), evaluation)
    assert tuple(len(example.inputs["features"].array) for example in golden.examples) == GOLDEN_ROW_COUNTS
