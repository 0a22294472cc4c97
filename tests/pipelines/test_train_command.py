"""`roost train` on some of the census's records, in processes of its own, and candidates beside what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import STAGES
from pipelines.commands import train
from pipelines.definition import Load
from pipelines.employment import drill
from pipelines.employment.source import PACKAGE
from pipelines.examples import read_examples
from pipelines.refusal import Refusal
from pipelines.running import run_stages, work_of
from pipelines.stages import register
from pipelines.work import Work, read_json
from registry_client.baseline.bins import bins_of
from registry_client.cache import BundleCache
from registry_client.folder import FolderRegistry
from registry_client.reference_run import ReferenceRun
from registry_client.verify import VerifiedBundle, check_contents, read_verified
from tests.pipelines.records import FEW, ROWS, as_options, with_records

ROOT = Path(__file__).parents[2]
CHANGES = (*FEW, "train.trees.count=20")


def roost(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server.cli", "train", "employment", "--folder", str(folder), *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def work_in(folder: Path, registry: Path, *changes: str, **kind: bool) -> Work:
    """What `roost train --rows` works with."""
    given = [f"snapshot.rows_max={ROWS}", *CHANGES, *changes]
    return work_of("employment", registry=str(registry), folder=folder, changes=given, **kind).elsewhere("tried")


@dataclass(frozen=True)
class Trained:
    """A run that registered version 1: its folder, its registry, the bundle that it also left, what it printed."""

    folder: Path
    registry: Path
    out: Path
    said: str

    @property
    def bundle(self) -> VerifiedBundle:
        return read_verified(self.out)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("first")
    folder, registry, out = with_records(root / "work"), root / "registry", root / "bundle"
    done = roost(folder, "--registry", str(registry), "--rows", str(ROWS), "--out", str(out), *as_options(*CHANGES))
    assert done.returncode == 0, done.stderr
    return Trained(folder, registry, out, done.stdout)


def test_every_stage_reports_in_order(first: Trained) -> None:
    lines = [line.split() for line in first.said.splitlines() if line.startswith("  ")]
    assert tuple(line[0] for line in lines) == STAGES
    assert all(len(line) > 4 for line in lines)


def test_the_first_version_is_stable_and_its_golden_examples_come_out(first: Trained) -> None:
    version = FolderRegistry(first.registry).resolve("employment", "@stable")
    bundle = read_verified(first.out, version.digest)
    check_contents(bundle, ReferenceRun(bundle.model_bytes, bundle.manifest.signature))


def test_the_bundle_says_where_it_comes_from_and_what_its_columns_mean(first: Trained) -> None:
    manifest, report = first.bundle.manifest, json.loads(first.bundle.files["evaluation.json"])
    assert manifest.lineage.data["source"]["package"] == PACKAGE
    loads = manifest.lineage.data["tables"]["employment"]["loads"]
    assert {name: load["rows"] for name, load in loads.items()} == dict.fromkeys(("2015", "2016", "2017", "2018"), ROWS)
    assert manifest.lineage.parameters["train"]["seed"] == 2015
    assert manifest.class_labels == (0, 1)
    assert len(manifest.meaning["features"]) == manifest.signature.inputs[0].shape[1] == 16
    assert {slice_["value"] for slice_ in report["slices"] if slice_["column"] == "year"} == {"2016", "2017", "2018"}


def test_the_baseline_counts_the_training_years_records_and_the_graphs_answers_to_them(first: Trained) -> None:
    bundle, work = first.bundle, work_in(first.folder, first.registry)
    made, training = bundle.baseline(), read_examples(work.of("features") / "training.parquet")
    assert made is not None
    answers = ReferenceRun(bundle.model_bytes, bundle.manifest.signature)(training.inputs())
    columns = dict(zip((one.name for one in made.inputs), training.numbers.T, strict=True))
    columns |= {"label": answers["label"], "probabilities[1]": answers["probabilities"][:, 1]}
    for known in (*made.inputs, *(one for one in made.predictions if one.name in columns)):
        counted = np.bincount(bins_of(known, columns[known.name]), minlength=len(known.counts))
        assert counted.tolist() == list(known.counts), known.name
    assert max(made.inputs, key=lambda one: one.importance or 0).name == "AGEP"


def test_the_same_work_elsewhere_has_the_same_digest(first: Trained, tmp_path: Path) -> None:
    again, home = tmp_path / "bundle", tmp_path / "home"
    home.mkdir()
    elsewhere = {"HOME": str(home), "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "3", "USER": "nobody"}
    options = ("--registry", str(tmp_path / "r"), "--rows", str(ROWS), "--out", str(again))
    done = roost(with_records(tmp_path / "some" / "where"), *options, *as_options(*CHANGES), **elsewhere)
    assert done.returncode == 0, done.stderr
    assert (again / "manifest.json").read_bytes() == (first.out / "manifest.json").read_bytes()


def test_one_other_record_gives_another_digest_and_the_lineage_lays_it_to_the_data(
    first: Trained, tmp_path: Path
) -> None:
    work = work_in(with_records(tmp_path / "work"), tmp_path / "r")

    def older(downloads: Path, rows_max: int | None) -> Iterator[Load]:
        for load in work.definition.fetch(downloads, rows_max):
            if load.name == "2015":
                ages = load.records["AGEP"].to_pylist()
                ages[7] += 1
                index = load.records.column_names.index("AGEP")
                load = replace(load, records=load.records.set_column(index, "AGEP", [ages]))
            yield load

    run_stages(replace(work, definition=replace(work.definition, fetch=older)), through="bundle")
    before, after = first.bundle.manifest, read_verified(work.of("bundle")).manifest
    assert after.digest != before.digest
    assert (after.lineage.code, after.lineage.parameters) == (before.lineage.code, before.lineage.parameters)
    assert loads_that_differ(before.lineage.data, after.lineage.data) == ["2015"]


def loads_that_differ(before: Any, after: Any) -> list[str]:
    one, other = (data["tables"]["employment"]["loads"] for data in (before, after))
    return [name for name in one if one[name] != other[name]]


def test_a_registered_model_is_left_alone_if_only_a_missing_one_is_wanted(first: Trained, tmp_path: Path) -> None:
    done = roost(tmp_path, "--registry", str(first.registry), "--if-missing", PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr
    assert "employment@stable is registered" in done.stdout
    assert "snapshot" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_run_may_end_early_and_registers_nothing(first: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    registry = first.folder / "no-registry"
    train("employment", registry=str(registry), folder=first.folder, rows=ROWS, changes=["train.seed=1"],
          through="features")  # fmt: skip
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert lines == ["snapshot", "features"]
    assert not registry.exists()


def test_an_unreachable_index_ends_in_one_line_and_exit_code_1(tmp_path: Path) -> None:
    done = roost(tmp_path / "d", "--registry", str(tmp_path / "r"), PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("employment: nannyml 0.13.1: expected a download by pip, got ERROR: ")
    assert "reaches a package index, then run this again." in done.stderr
    assert not (tmp_path / "r").exists()


def test_a_folder_with_files_in_it_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(SystemExit) as ended:
        train("employment", registry=str(tmp_path / "r"), folder=tmp_path / "work", out=tmp_path / "taken")
    assert ended.value.code == 1
    assert "expected a new or empty folder" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


# --- Further versions, in this process: each begins where the first run left the records ------------------------------
@pytest.fixture(scope="module")
def versions(first: Trained) -> dict[str, VerifiedBundle]:
    """The first, a candidate, and one that is spoilt on purpose, by what they are."""
    run_stages(work_in(first.folder, first.registry, "train.trees.count=30", candidate=True))
    run_stages(work_in(first.folder, first.registry, "train.trees.count=25", candidate=True, drill=True))
    registry, cache = FolderRegistry(first.registry), BundleCache(first.folder / "cache")
    found = registry.versions("employment")
    assert [(one.version, one.aliases) for one in found] == [(1, ("stable",)), (2, ()), (3, ())]
    return dict(zip(("first", "good", "spoilt"), (registry.fetch(one, cache) for one in found), strict=True))


def test_candidates_pass_every_check_before_deployment_the_spoilt_one_too(versions: dict[str, VerifiedBundle]) -> None:
    for bundle in versions.values():
        check_contents(bundle, ReferenceRun(bundle.model_bytes, bundle.manifest.signature))
        for example in bundle.golden().examples:
            assert np.isfinite(example.outputs["probabilities"].array).all()
    assert len({bundle.manifest.signature for bundle in versions.values()}) == 1
    told = {name: bundle.manifest.lineage.parameters.get("drill") for name, bundle in versions.items()}
    assert told == {"first": None, "good": None, "spoilt": drill.MEANING}


def test_only_the_spoilt_one_answers_nan_and_only_to_the_old(
    first: Trained, versions: dict[str, VerifiedBundle]
) -> None:
    people = read_examples(work_in(first.folder, first.registry).of("features") / "evaluation.parquet")
    old = people.numbers[:, drill.AGE_COLUMN] >= drill.AGE_FROM
    assert 0 < old.sum() < len(people)
    for name, bundle in versions.items():
        answers = ReferenceRun(bundle.model_bytes, bundle.manifest.signature)(people.inputs())
        silent = np.isnan(answers["probabilities"]).all(axis=1)
        assert silent.tolist() == (old if name == "spoilt" else np.zeros_like(old)).tolist(), name
        assert set(answers["label"].tolist()) == {0, 1}


def test_a_good_candidate_was_compared_with_what_is_stable_and_a_spoilt_one_was_not(
    first: Trained, versions: dict[str, VerifiedBundle]
) -> None:
    registry = FolderRegistry(first.registry)
    told = [json.loads(registry.attachments("employment", version)[register.COMPARISON_FILE]) for version in (2, 3)]
    assert [comparison["with"]["digest"] for comparison in told] == [versions["first"].digest] * 2
    assert [comparison["compared"] for comparison in told] == [True, False]


def test_a_model_that_is_worse_than_what_is_stable_is_not_registered(
    first: Trained, versions: dict[str, VerifiedBundle]
) -> None:
    past_the_gates = ("gates.calibration_error_max=1", "gates.slice_bias_max=1")
    with pytest.raises(Refusal, match=r"^comparison.*: expected nothing worse than version 1, which is s") as refused:
        run_stages(work_in(first.folder, first.registry, "train.trees.count=3", *past_the_gates))
    assert refused.value.table
    assert len(FolderRegistry(first.registry).versions("employment")) == len(versions)


def test_the_same_bundle_again_is_the_version_that_it_was(first: Trained, tmp_path: Path) -> None:
    work = replace(work_in(first.folder, first.registry), folder=tmp_path)
    (tmp_path / "bundle").symlink_to(first.out)
    assert "version 1, was there already and @stable" in register.run(work)
    assert read_json(work.of("register") / "registered.json")["digest"] == first.bundle.digest


def test_what_is_spoilt_does_not_become_stable_even_where_nothing_else_is(
    first: Trained, versions: dict[str, VerifiedBundle], tmp_path: Path
) -> None:
    (tmp_path / "bundle").symlink_to(first.registry / "bundles" / versions["spoilt"].digest)
    work = replace(work_in(first.folder, tmp_path / "r", drill=True), folder=tmp_path)
    register.run(work)
    assert [version.aliases for version in FolderRegistry(tmp_path / "r").versions("employment")] == [()]
