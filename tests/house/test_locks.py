"""The locks: pinned by hash, without a host, complete, and the same for tests, image and pipelines."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "locks").glob("*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lock: str) -> set[tuple[str, str, str]]:
    """(name, version, marker) of every pin."""
    text = (ROOT / "locks" / lock).read_text()
    found = re.findall(r"^([\w.-]+)==([^\s;]+)(?: ; (.*?))? \\$", text, re.MULTILINE)
    return {(name, version, marker) for name, version, marker in found}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~!; ]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_every_package_by_hash_and_names_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "index-url" not in text
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_the_image_ships_what_the_tests_ran_on() -> None:
    """Markers aside: another extra may have another package ask for the same one elsewhere."""
    tested = {(name, version) for name, version, _ in pins("dev.lock")}
    shipped = {(name, version) for name, version, _ in pins("registry.lock")}
    assert len(shipped) > 20
    assert shipped <= tested
    for lock in ("core.lock", "train.lock"):
        assert {(name, version) for name, version, _ in pins(lock)} <= tested


def test_every_declared_dependency_is_locked() -> None:
    locks = ("core", "registry", "train", "dev")
    core, registry, train, dev = ({name for name, _, _ in pins(f"{lock}.lock")} for lock in locks)
    extras = PROJECT["optional-dependencies"]
    assert names(PROJECT["dependencies"]) <= core
    assert names(extras["registry"]) <= registry
    assert names(extras["train"]) <= train
    assert names(extras["dev"]) <= dev


def test_the_serving_core_installs_without_training_and_development() -> None:
    core = {name for name, _, _ in pins("core.lock")}
    extras = PROJECT["optional-dependencies"]
    assert not core & (names(extras["train"]) | names(extras["dev"])) - {"setuptools"}
