"""What the registry is told: aliases and document, however long the quarantine is."""

from dataclasses import replace
from pathlib import Path

from registry_client.folder import FolderRegistry
from registry_client.manifest import sha256_hex
from server.control.registry_projection import fleets_quarantine, project
from server.control.state_folder import KeptState
from server.lifecycle.documents import TAG, read_document
from server.lifecycle.state import Artifact, ModelState
from tests.control.driven_server import NAME, push


def named(first: int, count: int) -> dict[str, str]:
    return {sha256_hex(str(number).encode()): "worse" for number in range(first, first + count)}


def test_aliases_follow_and_the_newest_are_told_however_many_are_in_quarantine(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    versions = [Artifact(str(number), push(root, number)) for number in (1, 2)]
    registry, held = FolderRegistry(root), named(0, 300)
    for revision, (stable, last_safe) in enumerate([versions, versions[::-1]], start=1):
        bad = named(1000 + revision, 1)
        held |= bad
        model = ModelState(NAME, revision=revision, stable=stable, last_safe=last_safe, quarantine=dict(held))
        project(registry, KeptState(model))
        pointed = {alias: str(one.version) for one in registry.versions(NAME) for alias in one.aliases}
        assert pointed == {"stable": stable.version, "last_safe": last_safe.version}
        document = read_document(registry.model_tags(NAME)[TAG])
        assert (document.revision, document.stable) == (revision, stable.digest)
        assert bad.keys() <= document.quarantine.keys() < held.keys()


def test_two_servers_with_long_quarantines_hear_of_each_others_newest(tmp_path: Path) -> None:
    root = tmp_path / "registry"
    stable = Artifact("1", push(root, 1))
    registry = FolderRegistry(root)
    model = ModelState(NAME, revision=1, stable=stable, quarantine=named(0, 200))
    kept = {"one": KeptState(model), "two": KeptState(model)}
    for number in range(20):
        who, other = ("one", "two") if number % 3 else ("two", "one")
        for name, found in ((who, named(1000 + number, 1)), (other, named(2000 + number, 1))):
            known = kept[name].model
            kept[name] = KeptState(replace(known, quarantine={**known.quarantine, **found}))
            project(registry, kept[name])
        for name in kept:
            known, tags = kept[name].model, registry.model_tags(NAME)
            news = fleets_quarantine(tags, kept[name])
            kept[name] = KeptState(replace(known, quarantine={**known.quarantine, **news}))
        assert kept["one"].model.quarantine.keys() == kept["two"].model.quarantine.keys()
