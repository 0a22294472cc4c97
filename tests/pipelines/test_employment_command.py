"""`python -m pipelines.employment` as `make serve` runs it, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.employment.pipeline import STAGES
from registry_client.folder import FolderRegistry
from registry_client.reference_run import ReferenceRun
from registry_client.verify import check_contents, read_verified

ROOT = Path(__file__).parents[2]
ROWS = "2000"


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.employment", "--data", str(ROOT / ".roost" / "data"), *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def first(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    folder = tmp_path_factory.mktemp("first")
    done = run("--registry", str(folder / "registry"), "--rows", ROWS, "--bundle", str(folder / "bundle"))
    assert done.returncode == 0, done.stderr
    return folder / "registry", folder / "bundle", done.stdout


def test_every_stage_reports_in_order(first: tuple[Path, Path, str]) -> None:
    lines = [line.split() for line in first[2].splitlines() if line.startswith("  ")]
    assert tuple(line[0] for line in lines) == STAGES
    assert all(len(line) > 3 for line in lines)


def test_the_registered_bundle_is_stable_and_its_golden_examples_come_out(first: tuple[Path, Path, str]) -> None:
    registry, folder, _ = first
    version = FolderRegistry(registry).resolve("employment", "@stable")
    bundle = read_verified(folder, version.digest)
    check_contents(bundle, ReferenceRun(bundle.model_bytes, bundle.manifest.signature))


def test_the_bundle_says_where_it_comes_from_and_what_its_columns_mean(first: tuple[Path, Path, str]) -> None:
    manifest = read_verified(first[1]).manifest
    assert manifest.lineage.data["package"] == "nannyml"
    assert len(manifest.lineage.data["wheel_sha256"]) == 64
    assert manifest.lineage.parameters["seed"] == 2015
    assert manifest.class_labels == (0, 1)
    names = [feature["name"] for feature in manifest.meaning["features"]]
    assert len(names) == manifest.signature.inputs[0].shape[1]
    assert [score["year"] for score in manifest.meaning["evaluation"]] == [2016, 2017, 2018]


def test_the_same_work_in_another_process_and_folder_has_the_same_digest(
    first: tuple[Path, Path, str], tmp_path: Path
) -> None:
    again = tmp_path / "elsewhere" / "bundle"
    done = run(
        "--registry", str(tmp_path / "r"), "--rows", ROWS, "--bundle", str(again), PYTHONHASHSEED="7", TZ="Asia/Tokyo"
    )
    assert done.returncode == 0, done.stderr
    assert (again / "manifest.json").read_bytes() == (first[1] / "manifest.json").read_bytes()


def test_other_rows_have_another_digest(first: tuple[Path, Path, str], tmp_path: Path) -> None:
    done = run("--registry", str(tmp_path / "r"), "--rows", "1999")
    assert done.returncode == 0, done.stderr
    known = FolderRegistry(first[0]).resolve("employment", "@stable").digest
    assert FolderRegistry(tmp_path / "r").resolve("employment", "@stable").digest != known


def test_a_registered_model_is_left_alone_if_only_a_missing_one_is_wanted(first: tuple[Path, Path, str]) -> None:
    done = run("--registry", str(first[0]), "--if-missing", PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr
    assert "employment@stable is registered" in done.stdout
    assert "snapshot" not in done.stdout


def test_a_stage_can_be_run_alone_and_registers_nothing(tmp_path: Path, wheel: Path) -> None:
    done = run("--registry", str(tmp_path / "r"), "--rows", ROWS, "--through", "features")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")] == ["snapshot", "features"]
    assert not (tmp_path / "r").exists()


def test_an_unreachable_index_ends_in_one_line_and_exit_code_1(tmp_path: Path) -> None:
    done = run("--data", str(tmp_path / "d"), "--registry", str(tmp_path / "r"), PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("employment: nannyml 0.13.1: pip could not download it")
