"""Lineage and meaning of a pipeline's model: what it came from by digest, and what its columns mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.artifact.lineage import artifact_lineage, artifact_meaning
from pipelines.refusal import Refusal
from pipelines.work import read_json
from registry_client.baseline.mapping import meaning_codes, meaning_columns
from registry_client.canonical_json import check_encodable
from registry_client.manifest import Lineage
from tests.pipelines.artifact.learnt_models import Model, snapshot


def lineage_of(model: Model, **changes: Any) -> Lineage:
    features = read_json(model.work.folder / "features" / "features.json")
    stated = {"snapshot": snapshot(model.work.definition), "features": features, "split": model.split} | changes
    return artifact_lineage(model.work.definition, model.work.parameters, **stated)


def test_data_are_named_by_table_version_load_and_digest(model: Model) -> None:
    data, tables = lineage_of(model).data, snapshot(model.work.definition)
    assert data["tables"] == tables["tables"]
    assert data["source"] == tables["source"]
    assert data["training"]["digest"] == model.split.training.digest()
    assert data["evaluation"]["rows"] == len(model.split.evaluation)


def test_times_tell_the_hour_only_where_it_is_known(trees: Model, network: Model) -> None:
    assert lineage_of(trees).data["training"]["from_utc"] == "2015-01-01"
    first = int(network.split.training.at_s.min())
    expected = np.datetime64(first, "s").astype("datetime64[m]").item().strftime("%Y-%m-%dT%H:%MZ")
    assert lineage_of(network).data["training"]["from_utc"] == expected


def test_code_is_named_by_file_and_libraries_by_version(model: Model) -> None:
    code = lineage_of(model).code
    assert "pipelines/artifact/card.html.jinja" in code["files"]
    assert code["libraries"].keys() >= {"lightgbm", "onnx", "shap"}
    assert len(code["sha256"]) == 64


def test_parameters_are_those_that_the_bundle_depends_on(trees: Model) -> None:
    parameters = lineage_of(trees).parameters
    assert parameters["train"]["trees"]["count"] == 12
    assert "network" not in parameters["train"]
    assert not {"deploy", "comparison", "drill"} & parameters.keys()
    assert lineage_of(trees, drill="spoilt").parameters["drill"] == "spoilt"


@pytest.mark.parametrize("part", ["training", "evaluation"])
def test_examples_that_the_features_stage_did_not_write_are_refused(model: Model, part: str) -> None:
    of = getattr(model.split, part)
    labels = of.labels.copy()
    labels[5] += 1
    with pytest.raises(Refusal, match=rf"features/{part}\.parquet: expected \d+ rows of digest .*features stage again"):
        lineage_of(model, split=replace(model.split, **{part: replace(of, labels=labels)}))


def test_meaning_names_columns_and_codes_as_every_reader_of_bundles_takes_them(trees: Model) -> None:
    meaning = artifact_meaning(trees.work.definition, {"rows": 7, "bound": 1e-6})
    names, coded = meaning_columns(meaning)
    assert names == ("AGEP", "SEX", "DIS", "NOISE")
    assert coded == {"SEX", "DIS"}
    assert meaning_codes(meaning)["SEX"] == {"1": "male", "2": "female"}
    assert meaning["labels"] == {"0": "not at work", "1": "employed, at work"}
    assert meaning["survey"] == "made up"


def test_meaning_has_texts_apart_and_the_unit_of_what_is_predicted(network: Model) -> None:
    meaning = artifact_meaning(network.work.definition, {"rows": 7, "bound": 1e-6})
    assert [column["name"] for column in meaning["texts"]] == ["carrier", "origin"]
    assert meaning["unit"] == "minutes"


def test_both_are_plain_json(model: Model) -> None:
    lineage = lineage_of(model)
    for document in (lineage.data, lineage.code, lineage.parameters, artifact_meaning(model.work.definition, {})):
        check_encodable(document, "it")
