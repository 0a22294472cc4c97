"""A small example with every kind of feature, whose answer its features tell; and a stage's surroundings for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.definition import Classification, Definition, Prose, Regression
from pipelines.examples import Examples
from pipelines.features.declaration import Code, Cycle, FeatureSet, Number, Text
from pipelines.parameters import Parameters
from pipelines.work import Work, write_json

ROWS = 600
TASKS: dict[str, Classification | Regression] = {
    "two": Classification(("no", "yes")),
    "three": Classification(("low", "middle", "high")),
    "minutes": Regression("minutes"),
}
FEATURES = FeatureSet((
    Number("age", "Age", 0, 120, "years"),
    Code("sex", "Sex", {1: "male", 2: "female"}),
    Text("town", "Town", ("ames", "bath", "cork")),
    Cycle("hour", "Hour of the day", 24),
    Number("noise", "Tells nothing", -5, 5),
))
QUICK: dict[str, Any] = {
    "trees": {"learner": "trees", "trees": {"count": 20, "leaves": 8}},
    "network": {"learner": "network", "network": {"hidden": [8], "epochs": 4, "batch_rows": 64}},
}


def make_examples(task: Classification | Regression, rows: int = ROWS, seed: int = 0, missing: bool = True) -> Examples:
    """Seeded. missing: whether some values of every column are."""
    random = np.random.default_rng(seed)
    age, hour = random.uniform(1, 100, rows), random.uniform(0, 24, rows)
    sex, town = random.integers(1, 3, rows), random.integers(0, 3, rows)
    numbers = np.column_stack([age, sex, hour, random.standard_normal(rows)]).astype(np.float32)
    truth = age + 20 * (sex == 1) + 10 * town + 15 * np.sin(hour / 24 * 2 * np.pi) + random.standard_normal(rows)
    texts = np.array(["ames", "bath", "cork"], dtype=object)[town].reshape(-1, 1)
    if missing:
        numbers[random.random(numbers.shape) < 0.05] = np.nan
        texts[random.random(texts.shape) < 0.05] = ""
    labels = truth
    if isinstance(task, Classification):
        edges = np.linspace(0, 1, len(task.labels) + 1)[1:-1]
        labels = np.digitize(truth, np.quantile(truth, edges)).astype(np.float64)
    keys = np.array([f"row-{seed}-{index}" for index in range(rows)], dtype=object)
    slices = {"sex": np.array(["male", "female"], dtype=object)[sex - 1]}
    return Examples(numbers, texts, labels, slices, keys, np.arange(rows, dtype=np.int64))


@pytest.fixture
def examples_of() -> Callable[..., Examples]:
    """(name of a task, rows, seed, missing) -> examples."""
    return lambda task, *args, **kwargs: make_examples(TASKS[task], *args, **kwargs)


@pytest.fixture(scope="session")
def features() -> FeatureSet:
    return FEATURES


@pytest.fixture(scope="session")
def tasks() -> dict[str, Classification | Regression]:
    return TASKS


@pytest.fixture
def make_work(tmp_path: Path) -> Callable[..., Work]:
    """(task, learner, further fields of Work) -> what the train stage is given, with the earlier stages done."""

    def make(task: str = "two", learner: str = "trees", folder: Path = tmp_path / "work", **fields: Any) -> Work:
        definition = Definition(
            name="toy", title="A toy", task=TASKS[task], label="it", tables=(), features=FEATURES,
            fetch=lambda downloads, rows_max: iter(()), split=lambda tables: pytest.fail("no split"), slices={},
            prose=Prose((), (), (), ""),
        )  # fmt: skip
        parameters = Parameters.model_validate({"train": QUICK[learner]})
        work = Work(definition, parameters, folder, tmp_path / "lake", tmp_path / "data", str(tmp_path / "registry"))
        work = replace(work, **fields)
        _earlier_stages(work, TASKS[task])
        return work

    return make


def _earlier_stages(work: Work, task: Classification | Regression) -> None:
    parts = {"training": make_examples(task), "evaluation": make_examples(task, ROWS // 2, 1)}
    with work.output("snapshot") as folder:
        write_json(folder / "snapshot.json", {"tables": {"toys": {"version": 3, "digest": "ab" * 32, "rows": ROWS}}})
    with work.output("features") as folder:
        for name, part in parts.items():
            part.write(folder / f"{name}.parquet")
        described = {name: {"rows": len(part), "digest": part.digest()} for name, part in parts.items()}
        write_json(folder / "features.json", described | {"features": FEATURES.as_json()})
