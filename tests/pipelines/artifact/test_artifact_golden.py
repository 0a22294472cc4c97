"""Golden examples of a pipeline's model: real rows, alone and together, and never one without an answer."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.artifact.golden import golden_examples
from pipelines.employment.drill import AGE_COLUMN, AGE_FROM, spared, spoilt
from pipelines.refusal import Refusal
from registry_client.golden import check_golden, read_golden
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun
from tests.pipelines.artifact.learnt_models import Model


def test_one_row_alone_and_seven_together_spread_over_evaluation(model: Model) -> None:
    signature = read_onnx(model.model_bytes).signature
    golden = golden_examples(signature, model.run, model.split.evaluation)
    rows = [example.inputs["features"].array for example in golden.examples]
    assert [len(one) for one in rows] == [1, 7]
    first_and_last = model.split.evaluation.numbers[[0, -1]]
    np.testing.assert_array_equal(np.stack([rows[0][0], rows[1][-1]]), first_and_last)
    check_golden(read_golden(golden.to_bytes()), model.run, rtol=0, atol=0)


def test_too_few_rows_are_refused(model: Model) -> None:
    signature = read_onnx(model.model_bytes).signature
    with pytest.raises(Refusal, match="golden examples: expected at least 8 rows to choose from, got 7"):
        golden_examples(signature, model.run, model.split.evaluation.take(np.arange(7)))


def test_an_answer_that_is_no_number_is_no_golden_example(trees: Model) -> None:
    graph = read_onnx(spoilt(trees.model_bytes))
    run = ReferenceRun(graph.model_bytes, graph.signature)
    with pytest.raises(Refusal, match=r"output probabilities: expected finite numbers .*, got nan"):
        golden_examples(graph.signature, run, trees.split.evaluation)
    golden = golden_examples(graph.signature, run, spared(trees.split.evaluation))
    ages = [example.inputs["features"].array[:, AGE_COLUMN] for example in golden.examples]
    assert np.concatenate(ages).max() < AGE_FROM
