"""The register stage: what is compared with what, what is refused, and what moves @stable."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.definition import Load
from pipelines.deploy.proof import check_proved
from pipelines.refusal import Refusal
from pipelines.running import run_stages, work_of
from pipelines.stable import stable_version
from pipelines.stages import register
from pipelines.work import Work, read_json
from registry_client.cache import BundleCache
from registry_client.errors import GoldenMismatch, NotOurs
from registry_client.folder import FolderRegistry
from registry_client.lineage.gathering import COMPARISON_FILE
from registry_client.registry import Version
from registry_client.tensors import Datatype, TensorSpec
from registry_client.verify import read_verified
from tests.pipelines.records import FEW, ROWS, with_records

NAME = "employment"
LAX = ("comparison.margin=0.5", "comparison.slice_drop_max=1")


@dataclass(frozen=True)
class Made:
    """Two trainings that were bundled: of 20 trees, and of 30. Nothing is registered."""

    stable: Work
    candidate: Work


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = with_records(tmp_path_factory.mktemp("made") / "roost")
    works = []
    for trees in (20, 30):
        changes = [f"snapshot.rows_max={ROWS}", *FEW, f"train.trees.count={trees}", *LAX]
        work = work_of(NAME, registry="nowhere", folder=folder, changes=changes).elsewhere(f"trees-{trees}")
        run_stages(work, "bundle")
        works.append(work)
    return Made(*works)


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "registry")


def within(work: Work, registry: FolderRegistry, **comparison: Any) -> Work:
    """The same for that registry, as strict as is said; its folder is a copy, so that what it leaves is its own."""
    place = registry._root.parent / work.folder.parent.name / NAME
    if not place.exists():
        shutil.copytree(work.folder, place)
    settings = work.parameters.comparison.model_copy(update=comparison)
    parameters = work.parameters.model_copy(update={"comparison": settings})
    return replace(work, registry=str(registry._root), folder=place, parameters=parameters)


def versions(registry: FolderRegistry) -> dict[int, tuple[str, ...]]:
    return {version.version: version.aliases for version in registry.versions(NAME)}


def compared(registry: FolderRegistry, version: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(registry.attachments(NAME, version)[COMPARISON_FILE])
    return found


def proved(registry: FolderRegistry, version: Version, cache: Path) -> None:
    beside = registry.attachments(NAME, version.version)
    check_proved(registry.fetch(version, BundleCache(cache)), beside, stable_version(registry, NAME))


def test_the_first_version_is_stable_and_the_next_is_compared_with_it(made: Made, registry: FolderRegistry) -> None:
    assert "version 1, new and @stable, although of a sample" in register.run(within(made.stable, registry))
    assert "version 2, new, digest" in register.run(within(made.candidate, registry))
    assert versions(registry) == {1: ("stable",), 2: ()}
    told = compared(registry, 2)
    assert (told["with"]["version"], told["compared"], told["baseline"], told["passed"]) == (1, True, True, True)
    looked_at = {gate["name"] for gate in told["gates"]}
    assert looked_at == {"comparison", "comparison_slice", "population_of_stable", "history"}


def test_where_others_are_there_and_none_is_stable_the_next_does_not_become_it_unseen(
    made: Made, registry: FolderRegistry
) -> None:
    register.run(replace(within(made.stable, registry), candidate=True))
    with pytest.raises(Refusal, match=r"employment@stable: expected a version to be compared with, got none of 1 "):
        register.run(within(made.candidate, registry))
    assert versions(registry) == {1: ()}


def test_what_did_not_answer_its_golden_examples_is_not_registered(
    made: Made, registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Off(register.ReferenceRun):
        def __call__(self, inputs: Any, *arguments: Any) -> Any:
            answers = super().__call__(inputs, *arguments)
            return {**answers, "probabilities": answers["probabilities"] + np.float32(0.25)}

    monkeypatch.setattr(register, "ReferenceRun", Off)
    with pytest.raises(GoldenMismatch, match="golden example 0"):
        register.run(within(made.stable, registry))
    assert not registry._root.exists()


def test_a_stable_version_that_came_meanwhile_is_one_that_was_not_compared_with(
    made: Made, registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.run(within(made.stable, registry))
    real, bundle = register.compare, within(made.candidate, registry).of("bundle")

    def slowly(*arguments: Any, **named: Any) -> Any:
        registry.push(bundle, aliases=("stable",))  # another run has its version promoted
        return real(*arguments, **named)

    monkeypatch.setattr(register, "compare", slowly)
    with pytest.raises(Refusal, match="expected it to stay while a version is registered, got another one now"):
        register.run(within(made.candidate, registry))
    assert versions(registry) == {1: (), 2: ("stable",)}
    assert COMPARISON_FILE not in registry.attachments(NAME, 2)


def test_a_first_version_that_came_meanwhile_stays_the_stable_one(
    made: Made, registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, bundle = register._provenance, within(made.candidate, registry).of("bundle")

    def slowly(*arguments: Any) -> Any:
        registry.push(bundle, aliases=("stable",))
        return real(*arguments)

    monkeypatch.setattr(register, "_provenance", slowly)
    with pytest.raises(Refusal, match="got another one now"):
        register.run(within(made.stable, registry))
    assert versions(registry) == {1: (), 2: ("stable",)}


def test_other_inputs_than_callers_send_are_refused(
    made: Made, registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.run(within(made.stable, registry))
    real = FolderRegistry.fetch

    def of_others(self: FolderRegistry, version: Version, cache: BundleCache) -> Any:
        bundle = real(self, version, cache)
        inputs = (TensorSpec("features", Datatype.FP32, (-1, 17)),)
        signature = replace(bundle.manifest.signature, inputs=inputs)
        return replace(bundle, manifest=replace(bundle.manifest, signature=signature))

    monkeypatch.setattr(FolderRegistry, "fetch", of_others)
    with pytest.raises(Refusal, match="expected the inputs of version 1, which is stable, got others"):
        register.run(within(made.candidate, registry))
    assert versions(registry) == {1: ("stable",)}


# --- Again -----------------------------------------------------------------------------------------------------------
def test_a_comparison_that_passed_speaks_for_no_stricter_one_and_not_after_one_that_failed(
    made: Made, registry: FolderRegistry, tmp_path: Path
) -> None:
    register.run(within(made.candidate, registry))
    register.run(within(made.stable, registry))  # fewer trees: worse, and within what is allowed
    _, second = registry.versions(NAME)
    proved(registry, second, tmp_path / "cache")
    with pytest.raises(Refusal, match=r"comparison.*: .* It was registered before, as version 2\. "):
        register.run(within(made.stable, registry, margin=0.0))
    assert compared(registry, 2)["passed"] is False
    with pytest.raises(Refusal, match="expected one no worse than what was stable, got one that is"):
        proved(registry, second, tmp_path / "cache")


def test_a_comparison_that_passed_is_not_made_again(
    made: Made, registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.run(within(made.stable, registry))
    register.run(within(made.candidate, registry))
    monkeypatch.setattr(register, "compare", lambda *arguments, **named: pytest.fail("made again"))
    assert "version 2, was there already, digest" in register.run(within(made.candidate, registry))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"passed":true}', b'{"passed":true,"settings":{},"with":null}'])
def test_what_nobody_has_written_excuses_no_comparison(made: Made, registry: FolderRegistry, content: bytes) -> None:
    register.run(within(made.stable, registry))
    register.run(within(made.candidate, registry))
    registry.attach(NAME, 2, COMPARISON_FILE, content)
    register.run(within(made.candidate, registry))
    assert compared(registry, 2)["with"]["version"] == 1


def test_a_comparison_with_what_was_stable_once_proves_nothing_now(
    made: Made, registry: FolderRegistry, tmp_path: Path
) -> None:
    register.run(within(made.stable, registry))
    register.run(within(made.candidate, registry))
    first, second = registry.versions(NAME)
    registry.set_alias(NAME, "stable", 2)
    proved(registry, second, tmp_path / "cache")  # it is what is stable now
    registry.attach(NAME, 1, COMPARISON_FILE, json.dumps({"passed": True, "with": {"digest": "0" * 64}}).encode())
    with pytest.raises(Refusal, match="expected a comparison with version 2, which is stable now, got one with"):
        proved(registry, first, tmp_path / "cache")


# --- Records ---------------------------------------------------------------------------------------------------------
def with_records_changed(work: Work, folder: Path, change: Callable[[pa.Table], pa.Table]) -> Work:
    """The same training of records that are others in every load, in a lake of its own."""
    usual = work.definition.fetch

    def fetch(downloads: Path, rows_max: int | None) -> Any:
        for load in usual(downloads, rows_max):
            yield Load(load.table, load.name, change(load.records))

    changed = replace(
        work, definition=replace(work.definition, fetch=fetch), folder=folder / "spoilt" / NAME, lake=folder / "lake"
    )
    run_stages(changed, "bundle")
    return changed


def sexes_exchanged(records: pa.Table) -> pa.Table:
    """Moves no share by more than a hundredth, and no measure: every gate that looks at one run alone passes."""
    index, field = records.column_names.index("SEX"), records.schema.field("SEX")
    return records.set_column(index, field, pa.array(3 - records["SEX"].to_numpy()).cast(field.type))


def test_codes_that_changed_places_in_every_load_rewrite_what_the_stable_version_has_read(
    made: Made, registry: FolderRegistry, tmp_path: Path
) -> None:
    register.run(within(made.stable, registry))
    spoilt = with_records_changed(made.candidate, tmp_path, sexes_exchanged)
    with pytest.raises(Refusal, match=r"^history: expected nothing worse than version 1") as refused:
        register.run(within(spoilt, registry))
    assert "history 1 on employment, load 2015 (at most 0)" in str(refused.value)
    assert "Nothing is registered." in str(refused.value)
    assert versions(registry) == {1: ("stable",)}
    report = read_json(tmp_path / "spoilt" / NAME / "beside" / register.FAILED_COMPARISON)
    assert [gate["on"] for gate in report["gates"] if not gate["passed"]] == [
        f"employment, load {year}" for year in range(2015, 2019)
    ]
    corrected = ("2015", "2016", "2017", "2018")
    register.run(within(spoilt, registry, corrected_loads=corrected))
    assert versions(registry) == {1: ("stable",), 2: ()}


def test_a_stable_version_that_tells_nothing_of_what_it_learnt_from_is_said(
    made: Made, registry: FolderRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.run(within(made.stable, registry))
    own = read_verified(within(made.candidate, registry).of("bundle")).digest
    real = register.VerifiedBundle.baseline
    monkeypatch.setattr(register.VerifiedBundle, "baseline", lambda self: real(self) if self.digest == own else None)
    said = register.run(within(made.candidate, registry))
    assert said.endswith("; version 1 does not tell what it learnt from, so that is not compared")
    assert "population_of_stable" not in {gate["name"] for gate in compared(registry, 2)["gates"]}


# --- What is stable --------------------------------------------------------------------------------------------------
def test_a_stable_version_that_roost_did_not_make_is_not_taken_for_none() -> None:
    class Foreign:
        def resolve(self, name: str, reference: str) -> Version:
            raise NotOurs(f"{name}:1", expected="a version with a digest", got="one that Roost did not make", hint="")

    with pytest.raises(NotOurs):
        stable_version(Foreign(), NAME)  # type: ignore[arg-type]
