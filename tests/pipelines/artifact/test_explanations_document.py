"""explanations.json: what of the attribution is told, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.artifact.explanations import explanations_document, shown
from pipelines.features.declaration import Code, Cycle, Feature, Number, Text
from registry_client import canonical_json
from tests.pipelines.artifact.learnt_models import Model


def test_features_are_ranked_by_strength_and_shares_add_up_to_one(model: Model, documents: dict[str, Any]) -> None:
    told = documents["explanations.json"]["importances"]
    assert [one["rank"] for one in told] == list(range(1, len(model.work.definition.features.names) + 1))
    assert {one["feature"] for one in told} == set(model.work.definition.features.names)
    strengths = [one["mean_abs"] for one in told]
    assert strengths == sorted(strengths, reverse=True)
    assert sum(one["share"] for one in told) == pytest.approx(1, abs=1e-5)


def test_explained_rows_are_spread_over_what_is_answered(documents: dict[str, Any]) -> None:
    examples = documents["explanations.json"]["examples"]
    outputs = [example["output"] for example in examples]
    assert len(examples) == 5
    assert outputs == sorted(outputs)


def test_an_example_s_values_lead_from_the_base_to_its_output(documents: dict[str, Any]) -> None:
    explanations = documents["explanations.json"]
    for example in explanations["examples"]:
        total = explanations["base"] + sum(one["value"] for one in example["values"])
        assert total == pytest.approx(example["output"], rel=1e-4, abs=1e-4)


def test_rows_are_told_by_their_place_and_never_by_their_key(model: Model) -> None:
    keys = np.array([f"person-{row}" for row in range(len(model.split.evaluation))], dtype=object)
    told = explanations_document(model.work.definition, model.explained(), replace(model.split.evaluation, keys=keys))
    assert b"person" not in canonical_json.encode(told)
    row = told["examples"][2]["row"]
    given = {one["feature"]: one["given"] for one in told["examples"][2]["values"]}
    first = model.work.definition.features.names[0]
    assert given[first] == pytest.approx(float(model.split.evaluation.numbers[row, 0]), rel=1e-5)


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_what_is_missing_is_null_in_the_document_and_said_in_words(model: Model, missing: float) -> None:
    numbers, texts = model.split.evaluation.numbers.copy(), model.split.evaluation.texts
    numbers[:, 0] = missing
    empty = None if texts is None else np.full_like(texts, "")
    evaluation = replace(model.split.evaluation, numbers=numbers, texts=empty)
    told = explanations_document(model.work.definition, model.explained(), evaluation)
    names = {model.work.definition.features.names[0], *(text.name for text in model.work.definition.features.texts)}
    values = [one for example in told["examples"] for one in example["values"] if one["feature"] in names]
    assert {(one["given"], one["shown"]) for one in values} == {(None, "missing")}
    canonical_json.encode(told)


def test_no_float_has_more_than_six_digits(documents: dict[str, Any]) -> None:
    def floats(document: Any) -> list[float]:
        if isinstance(document, dict):
            document = list(document.values())
        if isinstance(document, list):
            return [one for part in document for one in floats(part)]
        return [document] if isinstance(document, float) else []

    found = floats(documents["explanations.json"])
    assert len(found) > 20
    assert all(float(f"{one:.6g}") == one for one in found)


@pytest.mark.parametrize(
    ("column", "given", "words"),
    [
        (Number("a", "", 0, 130, "years"), 42.0, "42 years"),
        (Number("a", "", 0, 1), 0.123456, "0.1235"),
        (Code("b", "", {1: "yes"}), 1.0, "yes"),
        (Code("b", "", {1: "yes"}), 3.0, "unknown"),
        (Code("b", "", {1: "yes"}), 1.5, "unknown"),
        (Text("c", "", ("AA",)), "AA", "AA"),
        (Cycle("d", "", 24), 23.5, "23.5"),
        (Number("a", "", 0, 1), None, "missing"),
    ],
)
def test_a_raw_value_reads_as_its_declaration_says(
    column: Feature, given: float | str | None, words: str
) -> None:
    assert shown(column, given) == words
