"""What every registry promises, held by the folder registry and by MLflow's alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError, NotInRegistry, RegistryRefused, VerificationFailed
from registry_client.opening import open_registry
from registry_client.registry import TAG_CHARACTERS_MAX, Registry
from registry_client.tracking_uri import is_tracking_uri

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow makes its tables in seconds: once for all tests, which copy it."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    open_registry(f"sqlite:///{path}").names()
    return path


@pytest.fixture
def make(tmp_path: Path, write_bundle_of_doubling: Callable[..., object]) -> Make:
    """A bundle that differs from others by `mark`."""

    def bundle(mark: int, name: str = "doubling") -> Path:
        folder = tmp_path / f"bundle-{name}-{mark}"
        if not folder.exists():
            write_bundle_of_doubling(folder, name=name, meaning={"mark": mark})
        return folder

    return bundle


@pytest.fixture(params=["folder", "mlflow"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "registry")
    shutil.copy(request.getfixturevalue("empty_database"), tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def registry(location: str) -> Registry:
    return open_registry(location)


@pytest.fixture
def cache(tmp_path: Path) -> BundleCache:
    return BundleCache(tmp_path / "cache")


def test_versions_count_up_and_the_same_bundle_keeps_its_version(registry: Registry, make: Make) -> None:
    assert [registry.push(make(mark)).version for mark in (1, 2, 1)] == [1, 2, 1]
    assert [version.version for version in registry.versions("doubling")] == [1, 2]
    assert registry.names() == ("doubling",)


def test_what_is_fetched_is_what_was_pushed(registry: Registry, make: Make, cache: BundleCache) -> None:
    version = registry.push(make(1))
    bundle = registry.fetch(version, cache)
    assert bundle.digest == version.digest
    assert bundle.manifest.meaning == {"mark": 1}
    assert cache.get(version.digest).digest == version.digest


def test_another_client_of_the_same_place_sees_it_all(registry: Registry, location: str, make: Make) -> None:
    registry.push(make(1), aliases=("stable",))
    registry.set_model_tag("doubling", "roost.rollout", "{}")
    other = open_registry(location)
    assert other.resolve("doubling").version == 1
    assert other.model_tags("doubling") == {"roost.rollout": "{}"}


def test_a_bare_name_is_the_stable_or_else_the_newest(registry: Registry, make: Make) -> None:
    registry.push(make(1))
    registry.push(make(2))
    assert registry.resolve("doubling").version == 2
    registry.set_alias("doubling", "stable", 1)
    assert registry.resolve("doubling").version == 1
    assert registry.resolve("doubling", "@stable").aliases == ("stable",)
    assert registry.resolve("doubling", "2").version == registry.resolve("doubling", 2).version == 2


def test_an_alias_moves_and_goes(registry: Registry, make: Make) -> None:
    for mark in (1, 2):
        registry.push(make(mark), aliases=("canary",))
    assert registry.resolve("doubling", "@canary").version == 2
    registry.remove_alias("doubling", "canary")
    registry.remove_alias("doubling", "canary")
    with pytest.raises(NotInRegistry, match="doubling@canary: expected an alias of doubling"):
        registry.resolve("doubling", "@canary")


def test_aliases_and_tags_are_recorded_together(registry: Registry, make: Make) -> None:
    for mark in (1, 2):
        registry.push(make(mark), aliases=("canary",))
    registry.set_model_tag("doubling", "team", "risk")
    registry.record("doubling", {"stable": 2, "canary": None, "last_safe": 1}, {"roost.rollout": "{}"})
    assert [version.aliases for version in registry.versions("doubling")] == [("last_safe",), ("stable",)]
    assert registry.model_tags("doubling") == {"team": "risk", "roost.rollout": "{}"}


def test_no_tag_tells_of_an_alias_that_could_not_move(registry: Registry, make: Make) -> None:
    registry.push(make(1))
    with pytest.raises(NotInRegistry, match="doubling:7"):
        registry.record("doubling", {"canary": 7}, {"roost.rollout": "{}"})
    assert registry.model_tags("doubling") == {}


def test_tags_of_a_version_and_of_the_model_are_kept_apart(registry: Registry, make: Make) -> None:
    registry.push(make(1), aliases=("stable",))
    registry.set_tag("doubling", 1, "owner", "fraud")
    registry.set_model_tag("doubling", "team", "risk")
    assert registry.resolve("doubling", 1).tags == {"owner": "fraud"}
    assert registry.model_tags("doubling") == {"team": "risk"}
    registry.set_tag("doubling", 1, "owner", None)
    registry.set_model_tag("doubling", "team", None)
    registry.set_model_tag("doubling", "team", None)
    assert registry.resolve("doubling", 1).tags == {}
    assert registry.model_tags("doubling") == {}


def test_the_longest_tag_comes_back_whole(registry: Registry, make: Make) -> None:
    registry.push(make(1))
    registry.set_model_tag("doubling", "roost.rollout", "ü" * TAG_CHARACTERS_MAX)
    assert registry.model_tags("doubling")["roost.rollout"] == "ü" * TAG_CHARACTERS_MAX
    with pytest.raises(ArtifactError, match="expected at most"):
        registry.set_model_tag("doubling", "roost.rollout", "x" * (TAG_CHARACTERS_MAX + 1))


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda registry: registry.resolve("nobody"), "model 'nobody': expected one of the registry's models"),
        (lambda registry: registry.versions("nobody"), "expected one of the registry's models (doubling)"),
        (lambda registry: registry.resolve("doubling", 7), "doubling:7: expected a version of doubling (newest: 1)"),
        (lambda registry: registry.set_alias("doubling", "stable", 7), "expected a version of doubling"),
        (lambda registry: registry.set_tag("doubling", 7, "k", "v"), "expected a version of doubling"),
        (lambda registry: registry.model_tags("nobody"), "expected one of the registry's models"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(registry: Registry, make: Make, ask: Callable, words: str) -> None:
    registry.push(make(1))
    with pytest.raises(NotInRegistry) as refused:
        ask(registry)
    assert words in str(refused.value)


def test_a_bundle_under_another_name_than_its_own_is_refused(registry: Registry, make: Make) -> None:
    with pytest.raises(RegistryRefused, match="expected one of model other, got one of doubling"):
        registry.push(make(1), name="other")


def test_a_damaged_bundle_is_not_pushed(registry: Registry, make: Make) -> None:
    bundle = make(1)
    model = bundle / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    with pytest.raises(VerificationFailed, match=r"model\.onnx"):
        registry.push(bundle)
    assert registry.names() == ()


def test_what_is_a_tracking_uri() -> None:
    assert is_tracking_uri("sqlite:///x.db")
    assert is_tracking_uri("http://host:5000")
    assert not is_tracking_uri("/some/folder")
    assert not is_tracking_uri("folder")
