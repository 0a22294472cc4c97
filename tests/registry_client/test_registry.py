"""The folder registry and the cache: numbers, aliases, tags, concurrent pushes, damage on disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError, BadDocument, NotInRegistry, RegistryRefused, VerificationFailed
from registry_client.folder import INDEX_BYTES_MAX, FolderRegistry
from registry_client.registry import TAG_CHARACTERS_MAX
from registry_client.verify import VerifiedBundle, read_verified

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, write_bundle_of_doubling: Callable[..., object]) -> Make:
    """A bundle that differs from others by `mark`."""

    def bundle(mark: int, name: str = "doubling") -> Path:
        folder = tmp_path / f"bundle-{name}-{mark}"
        write_bundle_of_doubling(folder, name=name, meaning={"mark": mark})
        return folder

    return bundle


@pytest.fixture
def registry(tmp_path: Path) -> FolderRegistry:
    return FolderRegistry(tmp_path / "registry")


@pytest.fixture
def cache(tmp_path: Path) -> BundleCache:
    return BundleCache(tmp_path / "cache")


def stored(tmp_path: Path, digest: str) -> Path:
    return tmp_path / "registry" / "bundles" / digest


def index_file(tmp_path: Path) -> Path:
    return tmp_path / "registry" / "models" / "doubling.json"


def test_versions_count_up_and_the_same_bundle_keeps_its_version(registry, make):
    first, second = make(1), make(2)
    assert [registry.push(bundle).version for bundle in (first, second, first)] == [1, 2, 1]
    assert [version.version for version in registry.versions("doubling")] == [1, 2]
    assert registry.resolve("doubling").version == 2
    assert registry.names() == ("doubling",)


def test_what_is_fetched_is_what_was_pushed(registry, make, cache):
    bundle = make(1)
    assert registry.fetch(registry.push(bundle), cache) == read_verified(bundle)


def test_an_alias_points_where_it_was_last_set(registry, make):
    one = registry.push(make(1), aliases=("stable", "canary"))
    two = registry.push(make(2), "doubling", ("canary",))
    assert (one.aliases, two.aliases) == (("canary", "stable"), ("canary",))
    assert registry.resolve("doubling", "@stable").version == 1
    assert registry.resolve("doubling", "@canary") == two
    assert registry.set_alias("doubling", "stable", 2).aliases == ("canary", "stable")
    assert registry.resolve("doubling", 1).aliases == ()
    assert registry.resolve("doubling", "1") == registry.resolve("doubling", 1)


def test_tags_are_set_replaced_and_removed_and_leave_the_digest_alone(registry, make):
    pushed = registry.push(make(1))
    registry.set_tag("doubling", 1, "owner", "risk")
    registry.set_tag("doubling", 1, "rollout", "{}")
    assert registry.set_tag("doubling", 1, "owner", "fraud").tags == {"owner": "fraud", "rollout": "{}"}
    after = registry.set_tag("doubling", 1, "owner", None)
    assert (dict(after.tags), after.digest) == ({"rollout": "{}"}, pushed.digest)


def test_what_is_recorded_is_one_step(registry, make):
    """An alias that cannot move takes the others with it."""
    registry.push(make(1), aliases=("stable",))
    with pytest.raises(NotInRegistry):
        registry.record("doubling", {"stable": None, "canary": 7}, {"team": "risk"})
    with pytest.raises(BadDocument):
        registry.record("doubling", {"stable": None}, {"team": "x" * (TAG_CHARACTERS_MAX + 1)})
    assert registry.resolve("doubling", "@stable").version == 1
    assert registry.model_tags("doubling") == {}


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda r: r.resolve("doubling", "@canary"), r"an alias of doubling \(stable\), got 'canary'"),
        (lambda r: r.resolve("doubling", 7), r"a version of doubling \(newest: 1\), got 7"),
        (lambda r: r.resolve("absent"), r"one of the registry's models \(doubling\)"),
        (lambda r: r.versions("absent"), "one of the registry's models"),
        (lambda r: r.set_alias("doubling", "stable", 2), "a version of doubling"),
        (lambda r: r.set_tag("doubling", 2, "a", "b"), "a version of doubling"),
    ],
)
def test_what_the_registry_does_not_hold_is_named_with_what_it_holds(registry, make, ask, expected):
    registry.push(make(1), aliases=("stable",))
    with pytest.raises(NotInRegistry, match=expected):
        ask(registry)


@pytest.mark.parametrize("alias", ["latest", "3", "v3", "", "Stable", "a b", "../x", "@", "a" * 64])
def test_an_alias_that_could_be_mistaken_is_refused_before_anything_is_written(registry, make, alias, tmp_path):
    with pytest.raises(BadDocument, match="alias"):
        registry.push(make(1), aliases=(alias,))
    assert not (tmp_path / "registry").exists()


def test_a_tag_over_its_limit_is_refused(registry, make):
    registry.push(make(1))
    registry.set_tag("doubling", 1, "k" * 250, "x" * TAG_CHARACTERS_MAX)
    for key, value in (("", "x"), ("k" * 251, "x"), ("a\nb", "x"), ("a", "x" * (TAG_CHARACTERS_MAX + 1))):
        with pytest.raises(BadDocument, match="tag"):
            registry.set_tag("doubling", 1, key, value)


def test_a_bundle_under_another_name_than_its_own_is_refused(registry, make):
    with pytest.raises(RegistryRefused, match="one of model other, got one of doubling"):
        registry.push(make(1), "other")


def test_a_damaged_bundle_is_not_pushed(registry, make, tmp_path):
    bundle = make(1)
    (bundle / "model.onnx").write_bytes(b"")
    with pytest.raises(VerificationFailed, match=r"model\.onnx"):
        registry.push(bundle)
    assert not (tmp_path / "registry").exists()


def test_a_registry_that_cannot_be_written_is_refused_in_one_line(tmp_path, make):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RegistryRefused, match="a folder to write in"):
        FolderRegistry(tmp_path / "file").push(make(1))
    assert FolderRegistry(tmp_path / "none").names() == ()


def test_damage_in_the_registry_is_refused_naming_both_hashes_and_mended_by_the_next_push(
    registry, make, cache, tmp_path
):
    bundle = make(1)
    pushed = registry.push(bundle)
    model = stored(tmp_path, pushed.digest) / "model.onnx"
    flip_a_bit(model)
    with pytest.raises(VerificationFailed, match=r"model\.onnx: expected sha256 .* got sha256"):
        registry.fetch(pushed, cache)
    assert registry.push(bundle) == pushed
    assert registry.fetch(pushed, cache) == read_verified(bundle)


def test_a_bundle_put_in_place_of_another_is_refused_naming_both_digests(registry, make, cache, tmp_path):
    one, two = registry.push(make(1)), registry.push(make(2))
    shutil.rmtree(stored(tmp_path, one.digest))
    shutil.copytree(stored(tmp_path, two.digest), stored(tmp_path, one.digest))
    with pytest.raises(VerificationFailed, match=f"digest {one.digest}, got digest {two.digest}"):
        registry.fetch(one, cache)


def test_an_index_that_leads_to_another_models_bundle_is_refused(registry, make, cache, tmp_path):
    registry.push(make(1))
    other = registry.push(make(1, "other"))
    index = json.loads(index_file(tmp_path).read_bytes())
    index["versions"]["1"]["digest"] = other.digest
    index_file(tmp_path).write_text(json.dumps(index))
    with pytest.raises(
        VerificationFailed, match=f"a bundle of model doubling, got one of other, digest {other.digest}"
    ):
        registry.fetch(registry.resolve("doubling", 1), cache)


def test_a_push_of_a_bundle_that_changed_since_it_was_checked_is_refused(registry, make):
    with pytest.raises(VerificationFailed, match="expected digest 0000"):
        registry.push(make(1), digest="0" * 64)
    assert registry.names() == ()


def test_files_that_are_no_models_index_are_not_listed(registry, make, tmp_path):
    registry.push(make(1))
    for stray in ("my notes.json", ".incoming-1.json", "ümlaut.json"):
        (index_file(tmp_path).parent / stray).write_text("{}")
    assert registry.names() == ("doubling",)


def test_an_index_behind_a_symbolic_link_is_not_followed(registry, make, tmp_path):
    registry.push(make(1))
    index_file(tmp_path).rename(tmp_path / "elsewhere")
    index_file(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VerificationFailed, match="a regular file, got a symbolic link"):
        registry.resolve("doubling")


def test_an_index_over_its_bound_is_not_read_to_its_end(registry, make, tmp_path):
    registry.push(make(1))
    os.truncate(index_file(tmp_path), 1 << 40)  # sparse: takes no space on the disk
    with pytest.raises(VerificationFailed, match=f"at most {INDEX_BYTES_MAX} bytes"):
        registry.resolve("doubling")


def test_an_alias_moved_by_damage_is_refused_naming_both_digests(registry, make, tmp_path):
    one, two = registry.push(make(1), aliases=("stable",)), registry.push(make(2))
    index = json.loads(index_file(tmp_path).read_bytes())
    index["aliases"]["stable"]["version"] = 2
    index_file(tmp_path).write_text(json.dumps(index))
    with pytest.raises(VerificationFailed, match=f"digest {one.digest} as the alias.*digest {two.digest} of version 2"):
        registry.resolve("doubling", "@stable")


def test_no_flipped_bit_in_the_index_makes_an_alias_serve_another_bundle(registry, make, tmp_path):
    registry.push(make(1))
    stable = registry.push(make(2), aliases=("stable",))
    sound = index_file(tmp_path).read_bytes()
    for place in range(len(sound)):
        for bit in (0, 5):  # a neighbouring digit, and the other case of a letter
            damaged = bytearray(sound)
            damaged[place] ^= 1 << bit
            index_file(tmp_path).write_bytes(damaged)
            try:
                found = registry.resolve("doubling", "@stable")
            except ArtifactError:
                continue
            # The flip was elsewhere: in the first version's digest, say, which its own fetch then refuses.
            assert found.digest == stable.digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda i: i.update(format=2),
        lambda i: i.update(name="other"),
        lambda i: i.update(extra=1),
        lambda i: i.update(last_version=0),
        lambda i: i["versions"].update({"01": i["versions"]["1"]}),
        lambda i: i["versions"]["1"].update(digest="../../etc"),
        lambda i: i["versions"]["1"].update(tags={"a": 1}),
        lambda i: i["aliases"].update({"v1": {"version": 1, "digest": "0" * 64}}),
    ],
)
def test_an_index_that_says_what_it_cannot_is_refused(registry, make, tmp_path, damage):
    registry.push(make(1))
    index = json.loads(index_file(tmp_path).read_bytes())
    damage(index)
    index_file(tmp_path).write_text(json.dumps(index))
    with pytest.raises(BadDocument):
        registry.resolve("doubling")


def test_a_number_is_not_given_again_after_its_version_was_taken_out_by_hand(registry, make, tmp_path):
    registry.push(make(1))
    registry.push(make(2))
    index = json.loads(index_file(tmp_path).read_bytes())
    del index["versions"]["2"]
    index_file(tmp_path).write_text(json.dumps(index))
    assert registry.push(make(3)).version == 3


def test_processes_that_push_at_once_lose_nothing_and_share_no_number(registry, make, tmp_path):
    bundles = [make(mark) for mark in range(8)]
    # Each bundle by two processes: the same digest must come out as the same version.
    shares = [bundles[:4], bundles[4:], bundles[::2], bundles[1::2]]
    gate = tmp_path / "gate"
    command = [
        sys.executable,
        str(Path(__file__).with_name("pushing_process.py")),
        str(tmp_path / "registry"),
        str(gate),
    ]
    processes = [
        subprocess.Popen(
            [*command, *map(str, share)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for share in shares
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    gate.touch()
    lines = [line.split() for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    assert [process.returncode for process in processes] == [0] * len(processes)
    assert len(lines) == 16
    by_digest = {digest: {version for version, other in lines if other == digest} for _, digest in lines}
    assert sorted(by_digest) == sorted(read_verified(bundle).digest for bundle in bundles)
    assert sorted(int(version) for (version,) in by_digest.values()) == list(range(1, 9))
    assert [version.version for version in registry.versions("doubling")] == list(range(1, 9))
    assert registry.resolve("doubling", "@stable").version in range(1, 9)
    leftovers = list((tmp_path / "registry").rglob(".*"))
    assert leftovers == []


def test_a_reader_never_sees_a_half_written_index(registry, make):
    registry.push(make(1))
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(len(registry.versions("doubling")[0].tags))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(100):
            registry.set_tag("doubling", 1, f"t{number}", "x" * 100)
    finally:
        done.set()
        reader.join()
    assert seen == sorted(seen)
    assert seen


def test_a_pusher_killed_while_it_holds_the_lock_leaves_the_registry_usable(registry, make, tmp_path):
    registry.push(make(1))
    program = (
        "import sys, time; from pathlib import Path; from registry_client.folder import FolderRegistry\n"
        "with FolderRegistry(Path(sys.argv[1]))._locked(): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "registry")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=10)
    process.stdout.close()
    assert registry.push(make(2)).version == 2


def test_the_cache_serves_without_the_registry_once_it_has_a_bundle(registry, make, cache, tmp_path):
    pushed = registry.push(make(1))
    registry.fetch(pushed, cache)
    shutil.rmtree(tmp_path / "registry")
    assert registry.fetch(pushed, cache).digest == pushed.digest


@pytest.mark.parametrize(
    "damage", [lambda f: flip_a_bit(f / "model.onnx"), lambda f: (f / "golden.json").unlink(), shutil.rmtree]
)
def test_a_damaged_cache_entry_is_fetched_again(registry, make, cache, damage):
    pushed = registry.push(make(1))
    sound = registry.fetch(pushed, cache)
    damage(cache.path(pushed.digest))
    assert registry.fetch(pushed, cache) == sound
    assert cache.get(pushed.digest) == sound


def test_a_source_that_gives_another_bundle_is_refused_and_nothing_is_kept(make, cache, tmp_path):
    wanted, other = read_verified(make(1)), read_verified(make(2))
    with pytest.raises(VerificationFailed, match=f"digest {wanted.digest}, got digest {other.digest}"):
        cache.fetch(wanted.digest, lambda: other)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("change", [{"model.onnx": b"other"}, {"more": b""}, {"golden.json": None}])
def test_a_source_whose_files_are_not_its_manifests_is_refused_and_nothing_is_kept(make, cache, tmp_path, change):
    sound = read_verified(make(1))
    files = {name: content for name, content in {**sound.files, **change}.items() if content is not None}
    with pytest.raises(VerificationFailed, match=next(iter(change))):
        cache.fetch(sound.digest, lambda: VerifiedBundle(sound.manifest, sound.digest, files))
    assert not (tmp_path / "cache").exists()


def test_a_cache_key_that_is_no_digest_is_refused(cache):
    with pytest.raises(BadDocument, match="64 lower-case hex digits"):
        cache.get("../../etc")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
