"""Parity and conversion: one graph for raw values, and a graph that answers otherwise gets no further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from pipelines.examples import Examples
from pipelines.features.declaration import FeatureSet
from pipelines.features.matrix import Encoder, fit_encoder
from pipelines.parameters import Parameters
from pipelines.refusal import Refusal
from pipelines.stages.train import ENCODINGS, fit
from pipelines.training import parity
from pipelines.training.conversion import LABEL, PREDICTION, PROBABILITIES, to_onnx
from pipelines.training.learner import Learner
from pipelines.training.parity import check_parity
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun

CHOSEN = {
    "trees": {"learner": "trees", "trees": {"count": 12, "leaves": 8}},
    "network": {"learner": "network", "network": {"hidden": [8], "epochs": 2, "batch_rows": 64}},
}
ALL = [(task, name) for task in ("two", "three", "minutes") for name in CHOSEN]


def silent(words: str) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Case:
    """A learner, what it was encoded by, its graph, and examples that it has not seen."""

    learner: Learner
    encoder: Encoder
    model_bytes: bytes
    evaluation: Examples

    def check(self, model_bytes: bytes | None = None, learner: Learner | None = None) -> parity.Parity:
        return check_parity(
            learner or self.learner, self.encoder, model_bytes or self.model_bytes, self.evaluation, silent
        )


@pytest.fixture
def case_of(examples_of: Callable[..., Examples], features: FeatureSet, tasks: dict[str, Any]) -> Callable[..., Case]:
    """(task, learner, seed) -> case."""

    def case(task: str, name: str, seed: int = 0) -> Case:
        training = examples_of(task, seed=seed)
        parameters = Parameters.model_validate({"train": {**CHOSEN[name], "seed": seed}}).train
        encoder = fit_encoder(features, ENCODINGS[name], training.inputs())
        learner = fit(training, encoder, tasks[task], parameters, silent)
        return Case(learner, encoder, to_onnx(learner, encoder), examples_of(task, 200, 99))

    return case


@pytest.mark.parametrize(("task", "name"), ALL)
def test_the_signature_is_raw_values_in_and_plain_tensors_out(
    task: str, name: str, case_of: Callable[..., Case], tasks: dict[str, Any]
) -> None:
    model_bytes = case_of(task, name).model_bytes
    onnx.checker.check_model(model_bytes, full_check=True)
    found = read_onnx(model_bytes)
    assert found.notes == ()
    assert found.model_bytes == model_bytes
    inputs = [(spec.name, spec.datatype.name, spec.shape) for spec in found.signature.inputs]
    assert inputs == [("features", "FP32", (-1, 4)), ("texts", "BYTES", (-1, 1))]
    outputs = [(spec.name, spec.datatype.name, spec.shape) for spec in found.signature.outputs]
    if task == "minutes":
        assert outputs == [(PREDICTION, "FP32", (-1,))]
    else:
        classes = len(tasks[task].labels)
        assert outputs == [(LABEL, "INT64", (-1,)), (PROBABILITIES, "FP32", (-1, classes))]


@pytest.mark.parametrize(("task", "name"), ALL)
def test_graph_and_learner_agree_on_every_row_and_the_graph_is_the_same_again(
    task: str, name: str, case_of: Callable[..., Case]
) -> None:
    case = case_of(task, name)
    found = case.check()
    assert found.rows == len(case.evaluation)
    assert 0 < found.worst <= found.bound == (1e-5 if task == "minutes" else 1e-6)
    assert case_of(task, name).model_bytes == case.model_bytes


@pytest.mark.parametrize("rows", [1, 2, 37])
@pytest.mark.parametrize(("task", "name"), ALL)
def test_outputs_have_a_row_for_each_row_of_input(
    task: str, name: str, rows: int, case_of: Callable[..., Case]
) -> None:
    case = case_of(task, name)
    run = ReferenceRun(case.model_bytes, read_onnx(case.model_bytes).signature)
    answers = run(case.evaluation.take(np.arange(rows)).inputs())
    assert {len(answer) for answer in answers.values()} == {rows}


@pytest.mark.parametrize(("task", "name"), ALL)
def test_the_graph_of_another_training_is_refused_naming_the_first_row(
    task: str, name: str, case_of: Callable[..., Case]
) -> None:
    case, other = case_of(task, name), case_of(task, name, 1)
    with pytest.raises(Refusal, match=r"model\.onnx, evaluation row \d+ \(row-99-\d+\): expected the trained model's"):
        case.check(learner=other.learner)


def with_node(model_bytes: bytes, output: str, *operators: tuple[str, dict[str, Any]]) -> bytes:
    """The graph with `output` going through one operator after the other."""
    model = onnx.load_from_string(model_bytes)
    (source,) = [node for node in model.graph.node if output in node.output]
    source.output[list(source.output).index(output)] = "before_0"
    names = [f"before_{index}" for index in range(len(operators))] + [output]
    for index, (operator, attributes) in enumerate(operators):
        model.graph.node.append(helper.make_node(operator, [names[index]], [names[index + 1]], **attributes))
    return bytes(model.SerializeToString())


def test_wrong_labels_beside_right_probabilities_are_refused(case_of: Callable[..., Case]) -> None:
    case = case_of("two", "trees")
    wrong = with_node(
        case.model_bytes, LABEL, ("Cast", {"to": onnx.TensorProto.BOOL}), ("Not", {}),
        ("Cast", {"to": onnx.TensorProto.INT64}),
    )  # fmt: skip
    with pytest.raises(Refusal, match=r"evaluation row 0 \(row-99-0\): .* got label"):
        case.check(wrong)


def test_an_answer_that_is_no_number_is_refused(case_of: Callable[..., Case]) -> None:
    case = case_of("minutes", "network")
    assert (case.learner.predict(case.encoder.encode(case.evaluation.inputs())) > 0).any()
    wrong = with_node(case.model_bytes, PREDICTION, ("Neg", {}), ("Sqrt", {}))
    with pytest.raises(Refusal, match=r"evaluation row \d+ .* got prediction nan"):
        case.check(wrong)


def test_one_wrong_row_in_a_later_piece_is_found(
    case_of: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "PIECE_ROWS", 64)
    case = case_of("minutes", "trees")
    assert case.check().rows == 200

    class Other:
        """Right everywhere but where the matrix is that of row 150."""

        task, sums = case.learner.task, case.learner.sums
        spoilt = case.encoder.encode(case.evaluation.take(np.array([150])).inputs())

        def predict(self, matrix: np.ndarray) -> np.ndarray:
            same = np.all((matrix == self.spoilt) | (np.isnan(matrix) & np.isnan(self.spoilt)), axis=1)
            return case.learner.predict(matrix) * np.where(same, 1 + 3e-5, 1)

    with pytest.raises(Refusal, match=r"evaluation row 150 \(row-99-150\)"):
        case.check(learner=Other())  # type: ignore[arg-type]


def test_either_label_will_do_where_two_classes_are_equally_likely() -> None:
    expected = np.array([[0.5, 0.5], [0.4, 0.6]])
    answers = {PROBABILITIES: expected.astype(np.float32), LABEL: np.array([1, 0])}
    assert parity._of_classes(expected, answers, 1e-6).tolist() == [0.0, np.inf]


def test_the_bound_grows_with_what_is_added_up(case_of: Callable[..., Case]) -> None:
    class Many:
        task, sums = case_of("two", "trees").learner.task, 2000

    assert parity._bound(Many()) == pytest.approx(4e-6)  # type: ignore[arg-type]
