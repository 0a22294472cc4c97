"""`roost pipeline run` in a checkout of its own: to a promoted version, again, and killed after a change."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines import STAGES
from registry_client.verify import read_verified
from tests.pipelines.whole.checkouts import ROWS, Checkout, checkout, needs_dvc

pytestmark = [needs_dvc, pytest.mark.timeout(300), pytest.mark.patient]
AGAIN_S_MAX = 30.0
KILLED_WITHIN_S = 60.0


@dataclass(frozen=True)
class Run:
    """done: what it said. stages: those that ran after DVC was asked, in their order. seconds: what it took."""

    done: subprocess.CompletedProcess[str]
    seconds: float

    @property
    def stages(self) -> list[str]:
        said = self.done.stdout.rpartition("Now the pipeline itself.")[2]
        return [line.split()[0] for line in said.splitlines() if line.startswith("  ") and line.split()[0] in STAGES]


def ran(tree: Checkout, *arguments: str) -> Run:
    began_s = time.monotonic()
    done = tree.pipeline(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return Run(done, time.monotonic() - began_s)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return checkout(tmp_path_factory.mktemp("whole") / "roost")


@pytest.fixture(scope="module")
def first(tree: Checkout) -> Run:
    return ran(tree)


def test_from_nothing_every_stage_runs_once_and_the_version_is_promoted(tree: Checkout, first: Run) -> None:
    assert first.stages == list(STAGES)
    assert "employment version 2: promoted." in first.done.stdout
    assert "every signal passes" in first.done.stdout
    plain, promoted = tree.versions()
    assert promoted.aliases == ("stable",)
    assert read_verified(tree.results / "bundle").digest == promoted.digest != plain.digest


def test_it_ends_with_the_lineage_and_where_the_card_is(tree: Checkout, first: Run) -> None:
    assert f"load 2015       {ROWS:,} rows" in first.done.stdout
    assert "promoted from canary to stable, by the server" in first.done.stdout
    (line,) = (line for line in first.done.stdout.splitlines() if line.startswith("Model card: "))
    assert (tree.root / line.removeprefix("Model card: ")).read_text().startswith("<!doctype html>")


def test_a_clean_checkout_is_no_dirty_one_although_the_run_writes_its_lock(tree: Checkout, first: Run) -> None:
    (_, promoted) = tree.versions()
    attached = tree.registry.attachments("employment", promoted.version)
    assert json.loads(attached["provenance.json"])["git"] == {"commit": tree.commit(), "dirty": False}
    assert "dvc.lock" in tree.changed()


def test_again_there_is_nothing_to_do_but_to_look_at_the_registry(tree: Checkout, first: Run) -> None:
    again = ran(tree)
    assert again.stages == ["register"]
    assert "version 2, was there already and @stable" in again.done.stdout
    assert "stable already. It is the registry's @stable, and nothing is to be done." in again.done.stdout
    assert len(tree.versions()) == 2
    assert again.seconds < AGAIN_S_MAX


def test_the_stages_in_one_process_make_the_same_bundle_as_dvc(tree: Checkout, first: Run) -> None:
    elsewhere = tree.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data").symlink_to(tree.root / ".roost" / "data")
    done = tree.roost("train", "employment", "--folder", str(elsewhere), "--through", "bundle")
    assert done.returncode == 0, done.stderr
    made = read_verified(elsewhere / "pipelines" / "employment" / "bundle")
    assert made.digest == tree.versions()[-1].digest


def test_a_run_that_was_killed_registers_nothing_and_the_next_one_goes_on_behind_what_had_changed(
    tree: Checkout, first: Run
) -> None:
    known = tree.versions()
    tree.set({"gates": {"auc_min": 0.79}})
    killed = killed_in(tree, "bundle")
    assert [line.split()[0] for line in killed.splitlines() if line.startswith("  ")] == ["evaluate"]
    assert list(tree.results.glob(".bundle-*"))
    assert tree.versions() == known
    resumed = ran(tree, "--no-deploy")
    assert resumed.stages == ["bundle", "register"]
    assert not list(tree.results.glob(".bundle-*"))
    assert [version.version for version in tree.versions()] == [1, 2, 3]
    assert tree.versions()[-1].digest == read_verified(tree.results / "bundle").digest


def killed_in(tree: Checkout, stage: str) -> str:
    """Begins a run and kills all of it, with no chance to tidy up, while that stage is at work; what it had said."""
    running = tree.start("pipeline", "run", "employment", "--registry", "registry", "--no-deploy")
    deadline = time.monotonic() + KILLED_WITHIN_S
    while not begun(tree.results, stage):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(running.pid, signal.SIGKILL)
    said, _ = running.communicate()
    return said


def begun(results: Path, stage: str) -> bool:
    return any(results.glob(f".{stage}-*"))
