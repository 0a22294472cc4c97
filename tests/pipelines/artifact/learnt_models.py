"""Two small models, as far as the evaluate stage brings them: trees of classes, and a network of a quantity with texts.

Made by `conftest.py`, once a session. Their names are those of the real examples, whose code and drill the bundle stage
looks for; rows are made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.artifact.attribution import Explained, explain_graph, explain_trees
from pipelines.artifact.explanations import explanations_document
from pipelines.artifact.lineage import artifact_lineage, artifact_meaning
from pipelines.definition import Classification, Definition, Prose, Regression
from pipelines.examples import Examples, Split
from pipelines.features.declaration import Code, Cycle, FeatureSet, Number, Text
from pipelines.features.matrix import Encoder, fit_encoder
from pipelines.parameters import Parameters
from pipelines.stages.train import ENCODINGS, fit
from pipelines.training.conversion import to_onnx
from pipelines.work import Work, read_json, write_json
from registry_client.manifest import sha256_hex
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun

TRAINING_ROWS, EVALUATION_ROWS, EXPLAINED_ROWS = 900, 700, 60
PROSE = Prose(
    intended_use=("Trying the server.",), not_intended=("Decisions about <b>people</b> | anybody.",),
    limits=("It knows one place only.",), source="Made up for tests.",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """One of the two. source: the trees' text, or none."""

    work: Work
    split: Split
    encoder: Encoder
    model_bytes: bytes
    source: str
    run: ReferenceRun

    def explained(self) -> Explained:
        definition, rows = self.work.definition, self.work.parameters.bundle.explained_rows
        if self.source:
            return explain_trees(definition, self.source, self.encoder, self.run, self.split.evaluation, rows)
        return explain_graph(definition, self.run, self.split, rows, self.work.parameters.train.seed)


def no_loads(downloads: Path, rows_max: int | None) -> Iterator[Any]:
    raise AssertionError("nobody fetches here")


def no_split(tables: Any) -> Split:
    raise AssertionError("nobody splits here")


def definition(name: str) -> Definition:
    if name == "employment":
        columns: tuple[Any, ...] = (
            Number("AGEP", "age in years", 0, 130, "years"), Code("SEX", "sex", {1: "male", 2: "female"}),
            Code("DIS", "disability of any kind", {1: "yes", 2: "no"}), Number("NOISE", "nothing", -5, 5),
        )  # fmt: skip
        task: Classification | Regression = Classification(("not at work", "employed, at work"))
    else:
        columns = (
            Number("dep_delay", "delay at departure", -60, 2000, "minutes"), Cycle("hour", "hour of the day", 24),
            Text("carrier", "carrier", ("AA", "B6", "UA")), Text("origin", "origin", ("EWR", "JFK")),
        )  # fmt: skip
        task = Regression("minutes")
    return Definition(
        name=name, title=f"Test of {name}", task=task, label="employed" if name == "employment" else "arr_delay",
        tables=(), features=FeatureSet(columns), fetch=no_loads, split=no_split, slices={"part": "part of the rows"},
        prose=PROSE, meaning=lambda: {"survey": "made up"},
    )  # fmt: skip


def examples(of: Definition, rows: int, seed: int) -> Examples:
    random = np.random.default_rng(seed)
    if isinstance(of.task, Classification):
        age, sex, disabled = random.integers(0, 100, rows), random.integers(1, 3, rows), random.integers(1, 3, rows)
        numbers = np.column_stack([age, sex, disabled, random.normal(size=rows)]).astype(np.float32)
        odds = 2 - ((age - 42) / 18.0) ** 2 + (disabled - 1.5) + 0.2 * (sex == 1)
        labels, texts = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.float64), None
        at_s = np.full(rows, int(datetime(2015, 1, 1, tzinfo=UTC).timestamp()), dtype=np.int64)
    else:
        delay, hour = random.normal(10, 30, rows), random.uniform(0, 24, rows)
        numbers = np.column_stack([delay, hour]).astype(np.float32)
        carriers, origins = random.choice(["AA", "B6", "UA", ""], rows), random.choice(["EWR", "JFK"], rows)
        texts = np.column_stack([carriers, origins]).astype(object)
        labels = delay + 5 * np.sin(hour / 24 * 2 * np.pi) + 8 * (carriers == "B6") - 4 * (origins == "JFK")
        at_s = np.int64(1_357_000_000) + np.sort(random.integers(0, 270 * 86_400, rows))
    parts = np.array(["one", "two"], dtype=object)[np.arange(rows) % 2]
    return Examples(numbers, texts, labels, {"part": parts}, np.array([str(n) for n in range(rows)], object), at_s)


def measures(of: Definition, rows: int) -> dict[str, Any]:
    if isinstance(of.task, Classification):
        names = ("auc", "accuracy", "majority_share", "accuracy_gain", "log_loss", "brier")
    else:
        names = ("mae", "mae_of_median", "mae_share", "mae_skill", "rmse", "spread")
    figures = {name: round(0.8123 + place / 7, 6) for place, name in enumerate(names)}
    return {"rows": rows, **figures, "actual_mean": 0.4771, "predicted_mean": 0.4692, "bias": -0.0079}


def report(of: Definition) -> dict[str, Any]:
    """Of the form that pipelines/evaluation/report.py states; figures are made up."""
    classes = list(of.task.labels) if isinstance(of.task, Classification) else None
    measure = "auc" if classes else "mae_skill"
    shift = {"from": "training", "to": "evaluation", "psi": 0.0123, "beyond_chance": 0.0101}
    gate = {
        "name": "floor", "parameter": f"gates.{measure}_min", "measured": 0.8123, "bound": 0.75, "sense": "at least",
        "passed": True, "by": 0.0623, "on": "all rows", "rows": EVALUATION_ROWS, "checks": 1,
    }  # fmt: skip
    return {
        "task": "classification" if classes else "regression",
        "label": {
            "name": of.label, "classes": classes, "positive": 1 if classes else None,
            "unit": None if classes else "minutes", "median": None if classes else -3.0,
        },
        "measure": {"name": measure, "title": "area under the ROC curve" if classes else "skill"},
        "rows": {"training": TRAINING_ROWS, "evaluation": EVALUATION_ROWS, "not_finite": 0},
        "whole": measures(of, EVALUATION_ROWS),
        "periods": [{"period": period, "measures": measures(of, 350)} for period in ("2016", "2017")],
        "slices": [
            {
                "column": "part", "title": "part of the rows", "value": value, "training_rows": 450, "of_time": False,
                "judged": judged, "coverage": 0.987, "measures": measures(of, 350) | {measure: figure},
            }
            for value, judged, figure in (("one", True, 0.8011), ("two <&|", True, 0.8222), ("rare", False, None))
        ],
        "calibration": {
            "error": 0.01234,
            "bins": [
                {"rows": 70, "low": at - 0.05, "high": at + 0.04, "predicted": at, "actual": at + 0.012}
                for at in (0.15, 0.45, 0.85)
            ],
        },
        "robustness": {
            "missing": {"share": 0.1, "rows": EVALUATION_ROWS, "measure": 0.7911, "drop": 0.0212},
            "extremes": [{"case": "every number at infinity", "rows": 64, "not_finite": 0}],
        },
        "population": {
            "features": [{"names": [name], **shift} for name in (*of.features.names, of.label)],
            "over_time": [{"names": ["AGEP"], **shift, "from": "2016", "to": "2017"}],
            "pairs": [{"names": ["AGEP", "SEX"], **shift}], "spans": [],
        },
        "leakage": [{"name": name, "strength": 0.6123} for name in of.features.names],
        "duplicates": {"training": 0.0345, "periods": {"2016": 0.03}, "of_training": 0.02},
        "model": {"bytes": 12_345},
        "gates": [gate, gate | {"name": "size", "measured": 12_345, "bound": 50_000_000, "sense": "at most"}],
    }  # fmt: skip


def snapshot(of: Definition) -> dict[str, Any]:
    loads = {load: {"rows": 800, "digest": f"{place:064x}"} for place, load in enumerate(("2015", "2016"), 1)}
    return {
        "tables": {of.name: {"version": 4, "digest": "ab" * 32, "rows": 1600, "loads": loads}},
        "source": {"package": "made-up", "version": "0.1.2", "sha256": "cd" * 32},
    }


def learnt(root: Path, name: str) -> Model:
    """The folders of snapshot, features, train and evaluate, as those stages leave them."""
    of = definition(name)
    parameters = Parameters.model_validate({
        "train": {
            "learner": "trees" if name == "employment" else "network", "seed": 7,
            "trees": {"count": 12, "leaves": 8}, "network": {"hidden": [8], "epochs": 4},
        },
        "bundle": {"tau": 1.0, "explained_rows": EXPLAINED_ROWS},
    })  # fmt: skip
    split = Split(examples(of, TRAINING_ROWS, 1), examples(of, EVALUATION_ROWS, 2))
    encoder = fit_encoder(of.features, ENCODINGS[parameters.train.learner], split.training.inputs())
    learner = fit(split.training, encoder, of.task, parameters.train, lambda words: None)
    model_bytes, source = to_onnx(learner, encoder), learner.source()
    for stage in ("snapshot", "features", "train", "evaluate"):
        (root / stage).mkdir(parents=True)
    write_json(root / "snapshot" / "snapshot.json", snapshot(of))
    stated = {}
    for part, rows in (("training", split.training), ("evaluation", split.evaluation)):
        rows.write(root / "features" / f"{part}.parquet")
        stated[part] = {"rows": len(rows), "digest": rows.digest()}
    write_json(root / "features" / "features.json", stated | {"features": of.features.as_json()})
    (root / "train" / "model.onnx").write_bytes(model_bytes)
    (root / "train" / learner.source_name).write_bytes(source)
    write_json(root / "train" / "encoder.json", encoder.as_json())
    write_json(root / "train" / "train.json", {
        "learner": parameters.train.learner, "parameters": parameters.as_lineage()["train"],
        "importances": learner.importances(of.features, encoder.owners),
        "parity": {"rows": EVALUATION_ROWS, "bound": 1e-6}, "libraries": {},
    })  # fmt: skip
    judged = report(of)
    judged["model"]["sha256"] = sha256_hex((root / "train" / "model.onnx").read_bytes())
    write_json(root / "evaluate" / "report.json", judged)
    signature = read_onnx(model_bytes).signature
    work = Work(of, parameters, root, root / "lake", root / "downloads", str(root / "registry"))
    text = source.decode() if name == "employment" else ""
    return Model(work, split, encoder, model_bytes, text, ReferenceRun(model_bytes, signature))


def documents_of(model: Model) -> dict[str, Any]:
    """What the card is made of, as the bundle stage puts it together."""
    work, folder = model.work, model.work.folder
    lineage = artifact_lineage(
        work.definition, work.parameters, snapshot=read_json(folder / "snapshot" / "snapshot.json"),
        features=read_json(folder / "features" / "features.json"), split=model.split,
    )  # fmt: skip
    return {
        "evaluation.json": report(work.definition),
        "explanations.json": explanations_document(work.definition, model.explained(), model.split.evaluation),
        "manifest.json": {
            "lineage": vars(lineage), "meaning": artifact_meaning(work.definition, {"rows": 700, "bound": 1e-6}),
        },
    }  # fmt: skip
