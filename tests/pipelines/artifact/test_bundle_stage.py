"""The bundle stage: one folder, one digest, everything in it of the run and nothing of the day or the machine."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.artifact.environment import TRAIN_LOCK
from pipelines.artifact.places import shown
from pipelines.employment import drill
from pipelines.refusal import Refusal
from pipelines.stages import bundle
from pipelines.work import Work, read_json, write_json
from registry_client.reference_run import ReferenceRun
from registry_client.verify import VerifiedBundle, check_contents, read_verified
from tests.pipelines.artifact.learnt_models import Model
from tests.pipelines.artifact.walked_card import WalkedCard, value_at

FILES = {
    "model.onnx", "golden.json", "baseline.json", "evaluation.json", "explanations.json", "card.md", "card.html",
    "importances.svg", "explained_rows.svg", "calibration.svg", "slices.svg", "environment.lock",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(model: Model) -> VerifiedBundle:
    bundle.run(model.work)
    return read_verified(model.work.of("bundle"))


@pytest.fixture(scope="module")
def sound(trees: Model) -> VerifiedBundle:
    """That of the trees."""
    bundle.run(trees.work)
    return read_verified(trees.work.of("bundle"))


@pytest.fixture
def copied(trees: Model, tmp_path: Path) -> Work:
    """The same stages' folders elsewhere, free to be spoilt."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(trees.work.folder, folder, ignore=shutil.ignore_patterns("bundle"))
    return replace(trees.work, folder=folder, registry=str(tmp_path / "other"))


def test_the_bundle_is_whole_and_its_golden_examples_come_out(made: VerifiedBundle) -> None:
    assert set(made.files) == FILES
    check_contents(made, ReferenceRun(made.model_bytes, made.manifest.signature))


def test_the_report_the_lock_and_the_graph_are_in_it_as_they_were(model: Model, made: VerifiedBundle) -> None:
    assert made.model_bytes == model.model_bytes
    assert made.files["environment.lock"] == TRAIN_LOCK.read_bytes()
    assert made.files["evaluation.json"] == (model.work.of("evaluate") / "report.json").read_bytes()


def test_every_figure_of_the_card_walks_back_to_a_file_of_the_bundle(made: VerifiedBundle) -> None:
    names = ("evaluation.json", "explanations.json", "manifest.json")
    documents = {name: json.loads(made.all_files()[name]) for name in names}
    told = WalkedCard(made.files["card.html"].decode()).told
    assert {pointer.partition("#")[0] for pointer, _ in told} == set(names)
    for pointer, text in told:
        assert text == shown(value_at(documents, pointer)), pointer


def test_links_of_the_card_lead_to_files_of_the_bundle(made: VerifiedBundle) -> None:
    markdown = made.files["card.md"].decode()
    pictures = {line.split("](")[1].rstrip(")") for line in markdown.splitlines() if line.startswith("![")}
    assert pictures == {name for name in made.files if name.endswith(".svg")}


def test_the_same_in_another_folder_is_the_same_digest(sound: VerifiedBundle, copied: Work) -> None:
    bundle.run(copied)
    again = read_verified(copied.of("bundle"))
    assert again.files == sound.files
    assert again.digest == sound.digest


def test_nothing_in_it_tells_where_or_by_whom_it_was_made(model: Model, made: VerifiedBundle) -> None:
    telling = [socket.gethostname(), getpass.getuser(), str(Path.home()), str(Path(__file__).parents[3])]
    telling = [str(model.work.folder), *(word for word in telling if len(word) > 5)]  # shorter ones come by chance
    for name, content in made.all_files().items():
        for word in telling:
            assert name == "environment.lock" or word.encode() not in content, (name, word)


@pytest.mark.parametrize(
    "change",
    [
        lambda work: replace(
            work, parameters=work.parameters.model_copy(update={
                "bundle": work.parameters.bundle.model_copy(update={"explained_rows": 30}),
            }),
        ),
        lambda work: replace(work, definition=replace(work.definition, title="Another title")),
    ],
    ids=["a parameter", "a word of the definition"],
)  # fmt: skip
def test_a_change_is_another_digest(sound: VerifiedBundle, copied: Work, change: Callable[[Work], Work]) -> None:
    bundle.run(change(copied))
    assert read_verified(copied.of("bundle")).digest != sound.digest


@pytest.mark.parametrize(
    "name",
    [
        "snapshot/snapshot.json", "features/training.parquet", "features/evaluation.parquet", "features/features.json",
        "train/model.onnx", "train/encoder.json", "train/source.txt", "train/train.json", "evaluate/report.json",
    ],
)  # fmt: skip
def test_a_file_that_an_earlier_stage_did_not_leave_is_named_and_nothing_is_bundled(copied: Work, name: str) -> None:
    (copied.folder / name).unlink()
    with pytest.raises(Refusal, match=f"{Path(name).name}: expected .*Run the .* again"):
        bundle.run(copied)
    assert sorted(path.name for path in copied.folder.iterdir()) == ["evaluate", "features", "snapshot", "train"]


def test_a_stage_that_was_not_done_is_named(copied: Work) -> None:
    shutil.rmtree(copied.folder / "evaluate")
    with pytest.raises(Refusal, match="stage evaluate: expected it to have been done"):
        bundle.run(copied)


def test_a_bundle_that_was_there_stays_when_a_later_one_is_refused(copied: Work) -> None:
    bundle.run(copied)
    before = read_verified(copied.of("bundle")).digest
    (copied.folder / "train" / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(Refusal, match="model file: expected"):
        bundle.run(copied)
    assert read_verified(copied.of("bundle")).digest == before


def test_a_model_that_was_not_judged_is_not_bundled_with_what_was_said_of_another(
    network: Model, copied: Work
) -> None:
    """As it is where somebody trains again by hand, and bundles."""
    path = copied.folder / "evaluate" / "report.json"
    report: dict[str, Any] = read_json(path)
    report["model"]["sha256"] = "0" * 64
    write_json(path, report)
    with pytest.raises(Refusal, match=r"expected the evaluation of train/model\.onnx, got that of another"):
        bundle.run(copied)


def test_a_model_of_other_parameters_is_not_bundled_under_those_of_now(copied: Work) -> None:
    train = copied.parameters.train.model_copy(update={"seed": 99})
    with pytest.raises(Refusal, match="expected a model trained with the parameters of now"):
        bundle.run(replace(copied, parameters=copied.parameters.model_copy(update={"train": train})))


def test_a_graph_of_other_inputs_than_the_features_is_refused(network: Model, copied: Work) -> None:
    (copied.folder / "train" / "model.onnx").write_bytes(network.model_bytes)
    with pytest.raises(Refusal):
        bundle.run(copied)


def test_other_libraries_than_the_locked_are_refused_before_any_work(
    copied: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_fit() -> bytes:
        raise Refusal("library shap", expected="0.51.0", got="0.1", hint="make setup")

    monkeypatch.setattr(bundle, "locked_environment", none_fit)
    shutil.rmtree(copied.folder / "features")  # would be named, if it were looked at
    with pytest.raises(Refusal, match="library shap"):
        bundle.run(copied)


def test_where_the_learner_has_no_importances_the_explanations_share_theirs(network: Model) -> None:
    bundle.run(network.work)
    made = read_verified(network.work.of("bundle"))
    told = {one["feature"]: one["share"] for one in json.loads(made.files["explanations.json"])["importances"]}
    learnt_from = made.baseline()
    assert learnt_from is not None
    assert {one.name: one.importance for one in learnt_from.inputs} == {
        one.name: told[one.name] for one in learnt_from.inputs
    }


def test_a_drill_s_graph_is_spoilt_for_the_old_and_nothing_that_is_checked_shows_it(
    trees: Model, sound: VerifiedBundle, copied: Work
) -> None:
    told = bundle.run(replace(copied, drill=True))
    assert told.endswith("spoilt on purpose")
    spoilt = read_verified(copied.of("bundle"))
    run = ReferenceRun(spoilt.model_bytes, spoilt.manifest.signature)
    check_contents(spoilt, run)
    old = trees.split.evaluation.numbers[:, drill.AGE_COLUMN] >= drill.AGE_FROM
    answers = run(trees.split.evaluation.inputs())["probabilities"]
    assert np.isnan(answers[old]).all()
    np.testing.assert_array_equal(answers[~old], trees.run(trees.split.evaluation.inputs())["probabilities"][~old])
    assert spoilt.manifest.signature == sound.manifest.signature
    assert spoilt.files["baseline.json"] == sound.files["baseline.json"]
    assert spoilt.manifest.lineage.parameters["drill"] == drill.MEANING
    assert drill.MEANING in spoilt.files["card.html"].decode()


def test_a_drill_of_an_example_that_has_none_is_refused(network: Model) -> None:
    with pytest.raises(Refusal, match="--drill: expected an example that can be spoilt on purpose, got flights"):
        bundle.run(replace(network.work, drill=True))


def test_progress_is_told(copied: Work) -> None:
    told: list[str] = []
    bundle.run(replace(copied, say=told.append))
    assert told[0].startswith("explaining")
    assert any("baseline" in words for words in told)


def test_a_report_that_the_card_cannot_read_is_refused_by_place(copied: Work) -> None:
    path = copied.folder / "evaluate" / "report.json"
    report: dict[str, Any] = read_json(path)
    del report["calibration"]["error"]
    write_json(path, report)
    with pytest.raises(Refusal, match=r"evaluation\.json#/calibration/error: expected a value for the card"):
        bundle.run(copied)
