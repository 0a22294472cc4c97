"""A lineage, gathered from a registry: relatives, attachments and a journal; what is missing or damaged is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from registry_client.errors import RegistryUnavailable
from registry_client.folder import FolderRegistry
from registry_client.lineage import gathering
from registry_client.lineage.document import Named, Promotion
from registry_client.lineage.gathering import between, of_bundle
from registry_client.lineage.serving import Stay
from registry_client.verify import read_verified
from tests.registry_client.lineage.made_versions import (
    MODEL,
    attach,
    bundled,
    digest,
    gathered,
    journal,
    provenance,
    registry_of_three,
)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderRegistry, Path]:
    """Read by tests, never changed."""
    folder = tmp_path_factory.mktemp("lineage")
    return registry_of_three(folder), folder


@pytest.fixture
def one(tmp_path: Path) -> FolderRegistry:
    """Version 1, with nothing beside it."""
    registry = FolderRegistry(tmp_path / "registry")
    registry.push(tmp_path / "b", digest=bundled(tmp_path / "b").digest)
    return registry


def test_parent_children_and_what_differs_from_the_parent_are_found(three: tuple[FolderRegistry, Path]) -> None:
    registry, folder = three
    found = gathered(registry, 2, folder)
    first, second, third = registry.versions(MODEL)
    assert found.parent == Named(1, first.digest)
    assert found.children == (Named(3, third.digest, ("canary",)),)
    assert found.since_parent is not None
    assert (found.since_parent.before.digest, found.since_parent.after.digest) == (first.digest, second.digest)
    assert "train.trees.count" in [one.name for one in found.since_parent.changes]


def test_what_hangs_beside_the_version_is_found(three: tuple[FolderRegistry, Path]) -> None:
    beside = gathered(*three[:1], 2, three[1]).beside
    assert beside.provenance is not None
    assert beside.comparison is not None
    assert beside.comparison.document["words"] == "not worse"
    assert [rollout.document["result"] for rollout in beside.rollouts] == ["promoted"]
    assert beside.signatures == ("signature-00ff00ff00ff00ff.json",)
    assert beside.others == ("notes.txt",)


def test_who_promoted_it_and_when_it_served_come_from_the_journal(three: tuple[FolderRegistry, Path]) -> None:
    registry, folder = three
    served = gathered(registry, 2, folder, journal(registry)).served
    assert served is not None
    promoted = Promotion(4, "2026-01-31T15:00:00.000Z", "promoted", "ada", "an hour at 25 %")
    assert served.promotions == (promoted,)
    assert served.stays == (
        Stay("canary", "2026-01-31T14:00:00.000Z", "2026-01-31T15:00:00.000Z", (50_000, 250_000)),
        Stay("stable", "2026-01-31T15:00:00.000Z", None),
    )
    assert [entry["number"] for entry in served.entries] == [2, 3, 4]


def test_what_its_own_rollouts_left_is_told_where_no_journal_is_asked(tmp_path: Path) -> None:
    registry = registry_of_three(tmp_path)
    attach(registry, 2, "rollout-1.json", {"result": "promoted", "journal": [3, *journal(registry)[1:4]]})
    served = gathered(registry, 2, tmp_path).served
    assert served is not None
    assert (served.source, served.whole) == (gathering.OWN_ROLLOUTS, False)
    assert [one.operator for one in served.promotions] == ["ada"]
    asked = gathered(registry, 2, tmp_path, []).served
    assert asked is not None
    assert asked.promotions == ()


def test_another_models_entries_are_not_this_ones(three: tuple[FolderRegistry, Path]) -> None:
    registry, folder = three
    others = [{**entry, "model": "fraud"} for entry in journal(registry)]
    served = gathered(registry, 2, folder, others).served
    assert served is not None
    assert (served.stays, served.entries) == ((), ())


def test_the_first_version_is_said_to_have_no_parent(three: tuple[FolderRegistry, Path]) -> None:
    found = gathered(three[0], 1, three[1])
    assert (found.parent, found.since_parent) == (None, None)
    assert found.why_missing("parent") == "none: no version was stable when this one was registered"
    assert found.why_missing("served") == gathering.NO_JOURNAL


def test_a_version_that_no_pipeline_registered_says_so_of_each_part(one: FolderRegistry, tmp_path: Path) -> None:
    found = gathered(one, 1, tmp_path)
    assert found.damaged == ()
    for part in ("provenance", "parent", "comparison"):
        text = found.why_missing(part)  # type: ignore[arg-type]
        assert text is not None
        assert text.startswith("not recorded")


def test_a_parent_that_is_not_in_this_registry_is_shown_all_the_same(one: FolderRegistry, tmp_path: Path) -> None:
    attach(one, 1, "provenance.json", provenance({"version": 8, "digest": "ab" * 32}))
    found = gathered(one, 1, tmp_path)
    assert found.parent == Named(None, "ab" * 32)
    assert found.why_missing("since_parent") == "the parent is not in this registry"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("provenance.json", b"{"),
        ("provenance.json", b'{"measured": {"gates": 3}}'),
        ("comparison.json", b"[]"),
        ("rollout-1.json", b"\xff\xfe"),
        ("rollout-1.json", b'{"a":' * 100 + b"1" + b"}" * 100),
    ],
)
def test_a_damaged_attachment_is_named_and_costs_nothing_but_itself(
    one: FolderRegistry, tmp_path: Path, name: str, content: bytes
) -> None:
    attach(one, 1, "provenance.json", provenance())
    attach(one, 1, name, content)
    found = gathered(one, 1, tmp_path)
    assert [note.part for note in found.damaged] == [name]
    assert (found.beside.provenance is None) is (name == "provenance.json")
    assert found.origin.gates


def test_an_attachment_that_is_too_large_is_not_read(
    one: FolderRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "DOCUMENT_BYTES_MAX", 100)
    attach(one, 1, "comparison.json", {"words": "x" * 200})
    [note] = gathered(one, 1, tmp_path).damaged
    assert note.part == "comparison.json"
    assert "at most 100 bytes" in note.text


def test_an_evaluation_that_is_damaged_is_named_although_the_digest_covers_it(tmp_path: Path) -> None:
    bundled(tmp_path / "b", report=b'{"gates": [3]}')
    found = of_bundle(read_verified(tmp_path / "b"))
    assert [note.part for note in found.damaged] == ["evaluation.json"]
    assert (found.origin.gates, found.why_missing("gates")) == (None, gathering.DAMAGED)


def test_a_parent_whose_bundle_is_damaged_is_named(tmp_path: Path) -> None:
    registry = registry_of_three(tmp_path)
    first = registry.resolve(MODEL, 1)
    (tmp_path / "registry" / "bundles" / first.digest / "card.md").write_bytes(b"another")
    found = gathered(registry, 2, tmp_path)
    assert [note.part for note in found.damaged] == ["version 1, the parent"]
    assert found.since_parent is None
    assert found.parent == Named(1, first.digest)


def test_entries_without_a_time_are_counted_and_left_out(three: tuple[FolderRegistry, Path]) -> None:
    registry, folder = three
    entries: list[dict[str, Any]] = [*journal(registry), {"model": MODEL, "to": {}}, {"model": MODEL, "at_utc": "noon"}]
    found = gathered(registry, 2, folder, entries)
    assert [(note.part, note.text) for note in found.damaged] == [("journal", "2 entries without a time, left out")]
    assert found.served is not None
    assert len(found.served.stays) == 2


def test_only_so_many_later_versions_are_asked_for_their_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "CHILDREN_MAX", 1)
    found = gathered(registry_of_three(tmp_path), 1, tmp_path)
    assert [child.version for child in found.children or ()] == [2]
    assert found.why_missing("children") == "only the next 1 of 2 later versions were asked for their parent"


def test_a_registry_that_goes_away_meanwhile_is_not_waited_for_again_and_again(
    three: tuple[FolderRegistry, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def gone(self: FolderRegistry, name: str, version: int) -> Any:
        asked.append(version)
        raise RegistryUnavailable("registry", expected="an answer", got="none", hint="Try later.")

    monkeypatch.setattr(FolderRegistry, "attachments", gone)
    found = gathered(three[0], 1, three[1])
    assert asked == [1, 2]
    assert [note.part for note in found.damaged] == ["attachments", "later versions"]


def test_a_bundles_folder_says_what_only_a_registry_would_know(tmp_path: Path) -> None:
    bundled(tmp_path / "b")
    found = of_bundle(read_verified(tmp_path / "b"))
    assert (found.version, found.title) == (None, MODEL)
    assert found.why_missing("parent") == gathering.NO_REGISTRY
    assert found.why_missing("served") == gathering.NO_JOURNAL


def test_two_that_were_gathered_are_compared_with_their_names(three: tuple[FolderRegistry, Path]) -> None:
    registry, folder = three
    found = between(gathered(registry, 2, folder), gathered(registry, 3, folder))
    assert (found.before.version, found.after.version) == (2, 3)
    assert found.model_bytes
    assert "table churn, load 2018" in [one.name for one in found.changes]


def test_the_document_is_json_and_has_the_manifests_own_lineage(three: tuple[FolderRegistry, Path]) -> None:
    registry, folder = three
    found = gathered(registry, 2, folder, journal(registry))
    document = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert document["data"]["tables"]["churn"]["loads"]["2016"]["digest"] == digest(2016)
    assert document["served"]["intervals"][0]["weights_ppm"] == [50_000, 250_000]
    assert document["provenance"]["mlflow"]["tracking"] == "http://ada:***@mlflow:5000"
    assert "secret" not in json.dumps(document)
