"""The stage: it writes what the next ones read, the same bytes everywhere, or nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from pipelines.examples import read_examples
from pipelines.features.matrix import Encoder
from pipelines.parameters import Parameters
from pipelines.refusal import Refusal
from pipelines.stages import train
from pipelines.work import Work
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun

LEARNERS = ("trees", "network")
Make = Callable[..., Work]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("task", ["two", "three", "minutes"])
def test_every_learner_leaves_a_graph_that_beats_a_constant(task: str, learner: str, make_work: Make) -> None:
    work = make_work(task, learner)
    work = _longer(work)
    line = train.run(work)
    assert "answer alike on 300 rows" in line
    evaluation = read_examples(work.of("features") / "evaluation.parquet")
    model_bytes = (work.of("train") / "model.onnx").read_bytes()
    answers = ReferenceRun(model_bytes, read_onnx(model_bytes).signature)(evaluation.inputs())
    if task == "minutes":
        constant = np.abs(evaluation.labels - np.median(evaluation.labels)).mean()
        assert np.abs(answers["prediction"] - evaluation.labels).mean() < 0.5 * constant
    else:
        commonest = np.bincount(evaluation.labels.astype(int)).max() / len(evaluation)
        assert (answers["label"] == evaluation.labels).mean() > commonest + 0.15


def _longer(work: Work) -> Work:
    """A network needs more than the other tests' few epochs to learn."""
    network = {"hidden": [16], "epochs": 60, "batch_rows": 32, "learning_rate": 0.01}
    chosen = {"learner": work.parameters.train.learner, "trees": {"count": 30}, "network": network}
    return replace(work, parameters=Parameters.model_validate({"train": chosen}))


@pytest.mark.parametrize(
    ("learner", "source", "libraries"), [("trees", "source.txt", "lightgbm"), ("network", "source.npz", "scikit-learn")]
)
def test_the_folder_holds_graph_encoder_source_and_report(
    learner: str, source: str, libraries: str, make_work: Make
) -> None:
    work = make_work("two", learner)
    train.run(work)
    files = contents(work.of("train"))
    assert set(files) == {"model.onnx", "encoder.json", source, "train.json"}
    report = json.loads(files["train.json"])
    assert report["learner"] == learner
    assert report["parity"] == {"rows": 300, "bound": 1e-6}
    assert libraries in report["libraries"]
    encoder = Encoder.from_json(work.definition.features, json.loads(files["encoder.json"]))
    assert encoder.kind == {"trees": "ordinal", "network": "one_hot"}[learner]
    if learner == "trees":
        assert list(report["importances"]) == sorted(work.definition.features.names)
        assert sum(report["importances"].values()) == pytest.approx(1, abs=1e-5)
        assert lightgbm.Booster(model_file=str(work.of("train") / source)).num_trees() == 20
    else:
        assert report["importances"] is None


PROGRAM = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from conftest import QUICK, FEATURES, TASKS
from pipelines.definition import Definition, Prose
from pipelines.parameters import Parameters
from pipelines.stages import train
from pipelines.work import Work
for learner in ("trees", "network"):
    folder = Path(sys.argv[1]) / learner
    toy = Definition("toy", "A toy", TASKS["minutes"], "it", (), FEATURES, None, None, {}, Prose((), (), (), ""))
    parameters = Parameters.model_validate({"train": QUICK[learner]})
    train.run(Work(toy, parameters, folder, folder, folder, ""))
"""


def test_other_threads_time_zone_home_and_hash_seed_give_the_same_bytes(make_work: Make, tmp_path: Path) -> None:
    here: dict[str, dict[str, bytes]] = {}
    for learner in LEARNERS:
        work = make_work("minutes", learner, tmp_path / "there" / learner)
        train.run(work)
        here[learner] = contents(work.of("train"))
        (work.of("train") / "model.onnx").unlink()
    strange = {
        "OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3", "TZ": "Asia/Kathmandu", "HOME": str(tmp_path),
        "PYTHONHASHSEED": "7", "LC_ALL": "C",
    }  # fmt: skip
    places = [str(Path(__file__).parents[3]), str(Path(__file__).parent)]
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "there"), *places], check=True, env={**os.environ, **strange},
        cwd=tmp_path,
    )  # fmt: skip
    for learner in LEARNERS:
        assert contents(tmp_path / "there" / learner / "train") == here[learner]


def test_another_seed_of_the_network_gives_another_graph(make_work: Make) -> None:
    work = make_work("two", "network")
    train.run(work)
    first = contents(work.of("train"))["model.onnx"]
    section = work.parameters.train.model_copy(update={"seed": 7})
    train.run(replace(work, parameters=work.parameters.model_copy(update={"train": section})))
    assert contents(work.of("train"))["model.onnx"] != first


def test_evaluation_examples_change_nothing_of_what_is_learnt(make_work: Make) -> None:
    work = make_work("two", "network")
    train.run(work)
    first = contents(work.of("train"))
    path = work.of("features") / "evaluation.parquet"
    evaluation = read_examples(path)
    evaluation.take(np.arange(50)).write(path)
    train.run(work)
    second = contents(work.of("train"))
    assert second["model.onnx"] == first["model.onnx"]
    assert second["encoder.json"] == first["encoder.json"]


@pytest.mark.parametrize(
    ("label", "expected"), [(np.nan, "a class from 0 to 1, got nan"), (2.0, "a class from 0 to 1, got 2.0")]
)
def test_a_label_that_is_none_is_refused_naming_the_row(label: float, expected: str, make_work: Make) -> None:
    work = make_work()
    path = work.of("features") / "training.parquet"
    training = read_examples(path)
    labels = training.labels.copy()
    labels[5] = label
    replace(training, labels=labels).write(path)
    with pytest.raises(Refusal, match=rf"label of training row 5 \(row-0-5\): expected {expected}"):
        train.run(work)
    assert not (work.folder / "train").exists()


def test_a_quantity_that_is_missing_is_refused(make_work: Make) -> None:
    work = make_work("minutes")
    path = work.of("features") / "training.parquet"
    training = read_examples(path)
    labels = training.labels.copy()
    labels[9] = np.inf
    replace(training, labels=labels).write(path)
    with pytest.raises(Refusal, match=r"label of training row 9 .* expected a finite number, got inf"):
        train.run(work)


def test_a_class_without_examples_is_refused(make_work: Make) -> None:
    work = make_work("three")
    path = work.of("features") / "training.parquet"
    training = read_examples(path)
    training.take(training.labels < 2).write(path)
    with pytest.raises(Refusal, match="training: expected examples of every class, got none of 2"):
        train.run(work)


def test_a_stage_before_that_was_not_done_is_named(make_work: Make) -> None:
    work = make_work()
    (work.of("features") / "training.parquet").unlink()
    with pytest.raises(Refusal, match=r"training\.parquet: expected examples that the features stage wrote"):
        train.run(work)
