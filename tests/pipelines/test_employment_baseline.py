"""The employment model's baseline: every record of the training year, under the bundle's digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipelines.employment import convert, meaning, pipeline
from pipelines.employment.baseline import TAU_QUICK, baseline, importances
from pipelines.employment.features import COLUMN_NAMES, Examples, examples
from pipelines.employment.snapshot import read_snapshot
from pipelines.employment.train import Parameters, train
from registry_client.baseline.bins import bins_of
from registry_client.baseline.document import Baseline, Kind
from registry_client.errors import BadDocument
from registry_client.reference_run import ReferenceRun
from registry_client.verify import check_contents, read_verified

QUICK = Parameters(trees=20)


@pytest.fixture(scope="module")
def trained(reference: Examples) -> tuple[bytes, dict[str, float]]:
    classifier = train(reference, QUICK)
    return convert.to_onnx(classifier), importances(classifier)


@pytest.fixture(scope="module")
def made(trained: tuple[bytes, dict[str, float]], reference: Examples) -> Baseline:
    model_bytes, gains = trained
    return baseline(model_bytes, convert.session(model_bytes), reference, gains, TAU_QUICK)


def test_every_column_has_the_records_of_the_training_year_by_bin(made: Baseline, reference: Examples) -> None:
    assert [feature.name for feature in made.inputs] == list(COLUMN_NAMES)
    assert made.rank_error == 0
    for index, feature in enumerate(made.inputs):
        counted = np.bincount(bins_of(feature, reference.matrix[:, index]), minlength=len(feature.counts))
        assert counted.tolist() == list(feature.counts)
        assert sum(feature.counts) == len(reference.matrix)


def test_codes_are_categories_and_age_is_a_number(made: Baseline) -> None:
    numbers = [feature.name for feature in made.inputs if feature.kind is Kind.NUMBER]
    assert numbers == [column.name for column in meaning.COLUMNS if not column.codes]


def test_predictions_are_what_the_graph_answers_to_those_records(
    made: Baseline, trained: tuple[bytes, dict[str, float]], reference: Examples
) -> None:
    labels, probabilities = convert.run(convert.session(trained[0]), reference.matrix)
    names = [feature.name for feature in made.predictions]
    assert names == ["label", "probabilities[0]", "probabilities[1]", "probabilities[argmax]"]
    assert made.predictions[0].counts[:2] == tuple(np.bincount(labels))
    second = made.predictions[2]
    counted = np.bincount(bins_of(second, probabilities[:, 1]), minlength=len(second.counts))
    assert counted.tolist() == list(second.counts)
    assert made.labels[0].counts[:2] == tuple(np.bincount(reference.labels))


def test_importances_are_shares_of_the_gain(trained: tuple[bytes, dict[str, float]], made: Baseline) -> None:
    gains = trained[1]
    assert sum(gains.values()) == pytest.approx(1, abs=1e-5)
    assert max(gains, key=gains.__getitem__) == "AGEP"
    assert [feature.importance for feature in made.inputs] == [gains[name] for name in COLUMN_NAMES]


def test_all_records_are_enough_for_the_usual_tau_and_a_part_of_them_is_not(
    wheel: Path, trained: tuple[bytes, dict[str, float]], reference: Examples
) -> None:
    model_bytes, gains = trained
    session = convert.session(model_bytes)
    everybody = examples(read_snapshot(wheel).reference)
    assert baseline(model_bytes, session, everybody, gains).rows == 68_785
    with pytest.raises(BadDocument, match=r"reference: expected at least 2700 rows for tau 0\.1 and the 28 bins"):
        baseline(model_bytes, session, reference, gains)


@contextmanager
def silently(_: str) -> Iterator[Callable[[str], None]]:
    yield lambda text: None


@pytest.mark.parametrize("drill", [False, True])
def test_the_bundle_carries_the_sound_model_s_baseline_a_spoilt_one_s_too(
    wheel: Path, tmp_path: Path, made: Baseline, drill: bool
) -> None:
    plan = pipeline.Plan(
        registry=str(tmp_path / "r"), data=wheel.parent, rows_max=2000, through="bundle",
        bundle_folder=tmp_path / "b", parameters=QUICK, candidate=drill, drill=drill,
    )  # fmt: skip
    pipeline.run(plan, silently)
    bundle = read_verified(tmp_path / "b")
    check_contents(bundle, ReferenceRun(bundle.model_bytes, bundle.manifest.signature))
    assert bundle.baseline() == made
