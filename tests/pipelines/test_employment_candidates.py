"""Candidates: registered without moving @stable; one that is spoilt on purpose passes every check before deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import typer

from pipelines.employment import convert, drill, pipeline
from pipelines.employment.__main__ import main
from pipelines.employment.features import Examples
from pipelines.employment.register import registered
from pipelines.employment.train import Parameters, train
from registry_client.cache import BundleCache
from registry_client.onnx_model import read_onnx
from registry_client.opening import open_registry
from registry_client.reference_run import ReferenceRun
from registry_client.verify import check_contents

QUICK = Parameters(trees=20)


@pytest.fixture(scope="module")
def model_bytes(reference: Examples) -> bytes:
    return convert.to_onnx(train(reference, QUICK))


@contextmanager
def silently(_: str) -> Iterator[Callable[[str], None]]:
    yield lambda text: None


def test_a_spoilt_model_answers_nan_to_the_old_and_what_it_did_to_all_others(
    model_bytes: bytes, evaluation: Examples
) -> None:
    rows = evaluation.matrix[:500]
    labels, before = convert.run(convert.session(model_bytes), rows)
    labels_after, after = convert.run(convert.session(drill.spoilt(model_bytes)), rows)
    old = rows[:, drill.AGE_COLUMN] >= drill.AGE_FROM
    assert 0 < old.sum() < len(rows)
    assert np.isnan(after[old]).all()
    np.testing.assert_array_equal(after[~old], before[~old])
    np.testing.assert_array_equal(labels_after, labels)


def test_a_spoilt_model_takes_and_gives_what_it_did(model_bytes: bytes) -> None:
    assert read_onnx(drill.spoilt(model_bytes)).signature == read_onnx(model_bytes).signature


def test_candidates_leave_stable_alone_and_pass_every_check_the_spoilt_one_too(wheel: Path, tmp_path: Path) -> None:
    location = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def train_one(trees: int, **kind: bool) -> None:
        plan = pipeline.Plan(
            registry=location, data=wheel.parent, rows_max=2000, parameters=Parameters(trees=trees),
            **kind,  # type: ignore[arg-type]
        )  # fmt: skip
        pipeline.run(plan, silently)

    train_one(20)
    train_one(30, candidate=True)
    train_one(25, candidate=True, drill=True)
    registry, cache = open_registry(location), BundleCache(tmp_path / "cache")
    versions = registry.versions("employment")
    assert [(version.version, version.aliases) for version in versions] == [(1, ("stable",)), (2, ()), (3, ())]
    assert registered(location, "employment") == versions[0]
    bundles = [registry.fetch(version, cache) for version in versions]
    for bundle in bundles:
        check_contents(bundle, ReferenceRun(bundle.model_bytes, bundle.manifest.signature))
        for example in bundle.golden().examples:
            assert np.isfinite(example.outputs["probabilities"].array).all()
    assert {bundle.manifest.signature for bundle in bundles} == {bundles[0].manifest.signature}
    drills = [bundle.manifest.lineage.parameters.get("drill", "") for bundle in bundles]
    assert drills == ["", "", "spoilt on purpose: probabilities are NaN where AGEP is 60 or more"]
    old = np.array(bundles[2].golden().examples[0].inputs["features"].array)
    old[:, drill.AGE_COLUMN] = drill.AGE_FROM
    answers = [ReferenceRun(each.model_bytes, each.manifest.signature)({"features": old}) for each in bundles]
    assert [bool(np.isnan(answer["probabilities"]).any()) for answer in answers] == [False, False, True]


def test_a_spoilt_model_does_not_become_stable() -> None:
    with pytest.raises(typer.BadParameter, match="a spoilt model must not become @stable"):
        main(drill=True, candidate=False)
