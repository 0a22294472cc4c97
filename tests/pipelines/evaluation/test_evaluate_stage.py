"""The stage: a graph that was trained, examples in files, and a folder that is there only if every gate passed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.definition import Definition
from pipelines.evaluation import report as report_room
from pipelines.examples import Split
from pipelines.features.matrix import fit_encoder
from pipelines.parameters import Gates, Parameters, Train, Trees
from pipelines.refusal import Refusal
from pipelines.stages import evaluate
from pipelines.stages.train import fit
from pipelines.training.conversion import to_onnx
from pipelines.work import Work
from tests.pipelines.evaluation.judged_rows import (
    DEFINITION,
    GATES,
    REGRESSION,
    REGRESSION_GATES,
    regression_split,
    split,
)  # fmt: skip

TREES = Train(trees=Trees(count=30, leaves=8))
ROOMY = {"calibration_error_max": 0.1, "missing_drop_max": 0.4, "latency_us_max": 1e9, "row_ns_max": 1e9}
"""Trees grown on 3,000 rows are a little too sure and never missed a value; and a busy machine must not fail a test."""


def trained(rows: Split, definition: Definition) -> bytes:
    encoder = fit_encoder(definition.features, "ordinal", rows.training.inputs())
    return to_onnx(fit(rows.training, encoder, definition.task, TREES, lambda _: None), encoder)


@pytest.fixture(scope="module")
def classes() -> tuple[Split, bytes]:
    rows = split()
    return rows, trained(rows, DEFINITION)


@pytest.fixture(scope="module")
def minutes() -> tuple[Split, bytes]:
    rows = regression_split()
    return rows, trained(rows, REGRESSION)


def work_in(
    folder: Path,
    rows: Split,
    model_bytes: bytes,
    definition: Definition = DEFINITION,
    gates: Gates = GATES,
    **bounds: float,
) -> Work:
    """What the earlier stages would have left."""
    for stage in ("features", "train"):
        (folder / stage).mkdir(parents=True, exist_ok=True)
    rows.training.write(folder / "features" / "training.parquet")
    rows.evaluation.write(folder / "features" / "evaluation.parquet")
    (folder / "train" / "model.onnx").write_bytes(model_bytes)
    parameters = Parameters(train=TREES, gates=gates.model_copy(update=ROOMY | bounds))
    return Work(definition, parameters, folder, folder / "lake", folder / "downloads", "unused")


def refusal(work: Work) -> Refusal:
    with pytest.raises(Refusal) as caught:
        evaluate.run(work)
    return caught.value


def test_a_good_model_leaves_a_report_and_what_was_measured_beside(
    tmp_path: Path, classes: tuple[Split, bytes]
) -> None:
    said: list[str] = []
    work = replace(work_in(tmp_path, *classes), say=said.append)
    words = evaluate.run(work)
    document = json.loads((tmp_path / "evaluate" / "report.json").read_bytes())
    assert words.startswith(f"auc {document['whole']['auc']:.4f} on 4,000 rows, 17 gates passed at ")
    assert {path.name for path in (tmp_path / "evaluate").iterdir()} == {"report.json"}
    assert {path.name for path in (tmp_path / "beside").iterdir()} == {"measured.json"}
    assert len(said) > 3


def test_the_same_model_and_rows_give_the_same_report_byte_for_byte(
    tmp_path: Path, classes: tuple[Split, bytes]
) -> None:
    for place in ("one", "other"):
        evaluate.run(work_in(tmp_path / place, *classes))
    one, other = (tmp_path / place / "evaluate" / "report.json" for place in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_speed_is_judged_and_never_part_of_the_report(tmp_path: Path, classes: tuple[Split, bytes]) -> None:
    evaluate.run(work_in(tmp_path, *classes))
    document = json.loads((tmp_path / "evaluate" / "report.json").read_bytes())
    measured = json.loads((tmp_path / "beside" / "measured.json").read_bytes())
    assert not {"latency", "row_time"} & {gate["name"] for gate in document["gates"]}
    assert [gate["name"] for gate in measured["gates"]] == ["latency", "row_time"]
    assert measured["latency"]["row_us"] > 0
    assert measured["latency"]["batch_row_ns"] > 0
    assert measured["latency"]["batch_rows"] == 256


@pytest.mark.parametrize("parameter", ["latency_us_max", "row_ns_max"])
def test_a_model_that_is_too_slow_leaves_no_report(
    tmp_path: Path, classes: tuple[Split, bytes], parameter: str
) -> None:
    stopped = refusal(work_in(tmp_path, *classes, **{parameter: 1e-6}))
    assert stopped.got.startswith("1 that failed")
    assert not (tmp_path / "evaluate").exists()


def test_every_gate_that_failed_is_told_at_once_and_nothing_is_left_but_the_failed_report(
    tmp_path: Path, classes: tuple[Split, bytes]
) -> None:
    rows, model_bytes = classes
    evaluate.run(work_in(tmp_path, rows, model_bytes))
    shuffled = replace(rows.evaluation, labels=np.random.default_rng(1).permutation(rows.evaluation.labels))
    stopped = refusal(work_in(tmp_path, replace(rows, evaluation=shuffled), model_bytes))
    assert str(stopped).startswith("gates: expected all 19 to pass, got ")
    assert "Nothing is registered" in str(stopped)
    told = {line.split()[0] for line in stopped.table[1:]}
    assert {"auc", "accuracy_gain", "calibration"} <= told
    assert all(name in stopped.got for name in told)
    assert not (tmp_path / "evaluate").exists()
    document = json.loads((tmp_path / "beside" / "failed_report.json").read_bytes())
    assert {gate["name"] for gate in document["gates"] if not gate["passed"]} == told


def test_without_gates_a_model_that_fails_goes_on_and_is_told_of(tmp_path: Path, classes: tuple[Split, bytes]) -> None:
    words = evaluate.run(replace(work_in(tmp_path, *classes, auc_min=0.999), ungated=True))
    assert words.endswith("although gates failed: auc")
    document = json.loads((tmp_path / "evaluate" / "report.json").read_bytes())
    assert [gate["on"] for gate in document["gates"] if not gate["passed"]] == ["2016", "all rows", "2017"]


def test_a_failed_report_goes_when_the_next_run_passes(tmp_path: Path, classes: tuple[Split, bytes]) -> None:
    refusal(work_in(tmp_path, *classes, auc_min=0.999))
    assert (tmp_path / "beside" / "failed_report.json").exists()
    evaluate.run(work_in(tmp_path, *classes))
    assert not (tmp_path / "beside" / "failed_report.json").exists()


def test_a_regression_is_judged_by_its_skill(tmp_path: Path, minutes: tuple[Split, bytes]) -> None:
    words = evaluate.run(work_in(tmp_path, *minutes, definition=REGRESSION, gates=REGRESSION_GATES))
    document = json.loads((tmp_path / "evaluate" / "report.json").read_bytes())
    assert words.startswith("mae_skill 0.")
    assert document["label"] == {
        "name": "late", "classes": None, "positive": None, "unit": "minutes",
        "median": pytest.approx(float(np.median(minutes[0].training.labels)), rel=1e-5),
    }  # fmt: skip
    assert document["whole"]["mae_share"] == pytest.approx(1 - document["whole"]["mae_skill"], abs=1e-5)


@pytest.mark.parametrize("task", ["classes", "minutes"])
def test_the_report_has_the_form_that_its_page_states(
    tmp_path: Path, task: str, request: pytest.FixtureRequest
) -> None:
    rows, model_bytes = request.getfixturevalue(task)
    definition, gates = (DEFINITION, GATES) if task == "classes" else (REGRESSION, REGRESSION_GATES)
    evaluate.run(work_in(tmp_path, rows, model_bytes, definition, gates))
    document = json.loads((tmp_path / "evaluate" / "report.json").read_bytes())
    assert set(document) == {
        "task", "label", "measure", "rows", "whole", "periods", "slices", "calibration", "robustness", "population",
        "leakage", "duplicates", "model", "gates",
    }  # fmt: skip
    page = report_room.__doc__ or ""
    unstated = {key for key in keys_of(document) if f'"{key}"' not in page}
    assert unstated <= {"2016", "2017"}  # periods
    assert document["whole"][document["measure"]["name"]] is not None
    assert [one["period"] for one in document["periods"]] == ["2016", "2017"]
    assert {(one["column"], one["value"]) for one in document["slices"]} >= {("sex", "male"), ("line", "AA")}
    assert sum(one["rows"] for one in document["calibration"]["bins"]) == document["rows"]["evaluation"]
    assert all(gate["passed"] and gate["checks"] >= 1 for gate in document["gates"])


def test_figures_keep_six_digits(tmp_path: Path, classes: tuple[Split, bytes]) -> None:
    evaluate.run(work_in(tmp_path, *classes))
    document = json.loads((tmp_path / "evaluate" / "report.json").read_bytes())
    floats = [value for value in leaves(document) if isinstance(value, float)]
    assert len(floats) > 100
    assert all(value == float(f"{value:.6g}") for value in floats)


@pytest.mark.parametrize(
    ("file", "spoil", "words"),
    [
        ("train/model.onnx", lambda path: path.write_bytes(b"no graph"), "model.onnx: expected a graph"),
        ("train/model.onnx", Path.unlink, "model.onnx: expected a graph"),
        ("features/training.parquet", lambda path: path.write_bytes(b"no rows"), "training.parquet: expected examples"),
        ("features/evaluation.parquet", Path.unlink, "evaluation.parquet: expected examples"),
    ],
)
def test_what_an_earlier_stage_left_damaged_is_refused_by_name(
    tmp_path: Path, classes: tuple[Split, bytes], file: str, spoil: Callable[[Path], object], words: str
) -> None:
    work = work_in(tmp_path, *classes)
    spoil(tmp_path / file)
    assert words in str(refusal(work))
    assert not (tmp_path / "evaluate").exists()


def test_a_stage_that_was_not_done_is_asked_for(tmp_path: Path) -> None:
    work = Work(DEFINITION, Parameters(), tmp_path, tmp_path, tmp_path, "unused")
    assert "stage features" in str(refusal(work))


def keys_of(document: Any) -> Iterator[str]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            yield from keys_of(value)
    elif isinstance(document, list):
        for value in document:
            yield from keys_of(value)


def leaves(document: Any) -> Iterator[Any]:
    if isinstance(document, (dict, list)):
        for value in document.values() if isinstance(document, dict) else document:
            yield from leaves(value)
    else:
        yield document
