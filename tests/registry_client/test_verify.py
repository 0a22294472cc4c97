"""Verification against a hostile disk: every bit, every kind of file, every name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_client.bundle import unpack_bundle, write_bundle
from registry_client.errors import BadDocument, UnservableModel, VerificationFailed
from registry_client.golden import read_golden
from registry_client.manifest import Lineage, Tolerance
from registry_client.reference_run import ReferenceRun
from registry_client.verify import check_contents, read_verified

FILES = ("model.onnx", "golden.json", "card.md", "manifest.json", "manifest.sha256")


@pytest.fixture
def bundle(sound_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound_bundle, tmp_path / "bundle"))


def test_a_sound_bundle_is_returned_as_the_bytes_on_disk(bundle):
    verified = read_verified(bundle)
    assert {name: (bundle / name).read_bytes() for name in FILES} == verified.all_files()
    assert set(verified.files) == {"model.onnx", "golden.json", "card.md"}
    assert hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest() == verified.digest
    assert read_verified(bundle, verified.digest) == verified
    check_contents(verified, ReferenceRun(verified.model_bytes, verified.manifest.signature))


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(FILES), place=st.integers(0, 10**6), bit=st.integers(0, 7), pinned=st.booleans())
def test_a_flipped_bit_anywhere_is_refused_naming_the_file_and_both_hashes(
    sound_bundle, tmp_path_factory, name, place, bit, pinned
):
    digest = read_verified(sound_bundle).digest
    folder = tmp_path_factory.mktemp("flipped") / "bundle"
    shutil.copytree(sound_bundle, folder)
    damaged = bytearray((folder / name).read_bytes())
    damaged[place % len(damaged)] ^= 1 << bit
    (folder / name).write_bytes(damaged)
    with pytest.raises(VerificationFailed) as refusal:
        read_verified(folder, digest if pinned else None)
    shutil.rmtree(folder)
    message = str(refusal.value)
    assert name in message
    before, after = (hashlib.sha256(content).hexdigest() for content in ((sound_bundle / name).read_bytes(), damaged))
    if name != "manifest.sha256":
        assert before in message
        assert after in message
    else:
        assert digest in message


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 0.5, -1])
def test_a_truncated_file_is_refused_naming_both_hashes(bundle, name, keep):
    content = (bundle / name).read_bytes()
    shorter = content[: keep if keep == -1 else int(len(content) * keep)]
    (bundle / name).write_bytes(shorter)
    with pytest.raises(VerificationFailed) as refusal:
        read_verified(bundle)
    assert name in str(refusal.value)
    if name != "manifest.sha256":
        assert hashlib.sha256(shorter).hexdigest() in str(refusal.value)
        assert hashlib.sha256(content).hexdigest() in str(refusal.value)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_grew_is_refused_and_not_read_to_its_end(bundle, name):
    with (bundle / name).open("ab") as file:
        file.truncate(1 << 40)  # sparse: to read it whole would take minutes and all memory
    with pytest.raises(VerificationFailed, match=rf"{name}: expected at most \d+ bytes, got more"):
        read_verified(bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(VerificationFailed, match=f"{name}: expected the file, got none"):
        read_verified(bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_symbolic_link_is_refused_although_it_leads_to_the_right_bytes(bundle, tmp_path, name):
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VerificationFailed, match=f"{name}: expected a regular file, got a symbolic link"):
        read_verified(bundle)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_fifo_or_folder_in_place_of_a_file_is_refused_and_never_waited_for(bundle, name, make):
    (bundle / name).unlink()
    make(bundle / name)
    with pytest.raises(VerificationFailed, match=name):
        read_verified(bundle)


@pytest.mark.parametrize("name", ["model2.onnx", ".hidden", "weights.bin\n"])
def test_an_extra_file_is_refused_by_name(bundle, name):
    (bundle / name).write_bytes(b"")
    with pytest.raises(VerificationFailed, match="only files that the manifest names") as refusal:
        read_verified(bundle)
    assert repr(name) in refusal.value.field


def test_an_extra_folder_is_refused(bundle):
    (bundle / "more").mkdir()
    with pytest.raises(VerificationFailed, match="'more'"):
        read_verified(bundle)


def test_a_manifest_that_names_a_file_outside_is_refused_although_its_hash_is_right(bundle, tmp_path):
    (tmp_path / "secret").write_bytes(b"s")
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["files"]["../secret"] = {"sha256": hashlib.sha256(b"s").hexdigest(), "size": 1}
    rewrite(bundle, manifest)
    with pytest.raises(BadDocument, match=r"plain file names.*'\.\./secret'"):
        read_verified(bundle)


def test_a_manifest_that_was_rewritten_whole_passes_alone_but_not_against_the_expected_digest(bundle):
    expected = read_verified(bundle).digest
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["name"] = "forged"
    rewrite(bundle, manifest)
    forged = read_verified(bundle)
    with pytest.raises(VerificationFailed, match=f"digest {expected}, got digest {forged.digest}"):
        read_verified(bundle, expected)


def test_an_expected_digest_that_is_none_is_refused_before_anything_is_read(bundle):
    with pytest.raises(BadDocument, match="64 lower-case hex digits"):
        read_verified(bundle, "ABC")


def test_what_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path, got in ((tmp_path / "none", "nothing there"), (tmp_path / "file", "a file")):
        with pytest.raises(VerificationFailed, match=f"a bundle's folder, got {got}"):
            read_verified(path)


def test_a_signature_that_is_not_the_models_is_refused(bundle):
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["signature"]["outputs"][0]["shape"] = [-1, 4]
    rewrite(bundle, manifest)
    with pytest.raises(VerificationFailed, match=r"signature: expected that of model\.onnx"):
        check_contents(read_verified(bundle))


@pytest.mark.parametrize(
    ("labels", "got"), [([2, 1, 0], r"\[2, 1, 0\]"), (["a", "b", "c"], r"\['a', 'b', 'c'\]"), (None, "none")]
)
def test_labels_that_are_not_the_graphs_are_refused(tmp_path, sklearn_export, labels, got):
    from registry_client.onnx_model import read_onnx
    from registry_client.reference_run import record_golden

    exported = sklearn_export(True)
    write_bundle(tmp_path / "b", name="iris", model_bytes=exported, golden=record_golden(read_onnx(exported)))
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_bytes())
    check_contents(read_verified(tmp_path / "b"))
    manifest["class_labels"] = labels
    rewrite(tmp_path / "b", manifest)
    with pytest.raises(
        VerificationFailed, match=rf"class_labels: expected those of model\.onnx: \[0, 1, 2\], got {got}"
    ):
        check_contents(read_verified(tmp_path / "b"))


def test_labels_that_are_not_the_graphs_are_not_bundled(tmp_path, sklearn_export):
    from registry_client.onnx_model import read_onnx
    from registry_client.reference_run import record_golden

    exported = sklearn_export(True)
    golden = record_golden(read_onnx(exported))
    with pytest.raises(BadDocument, match=r"class_labels: expected those that the graph tells, \(0, 1, 2\)"):
        write_bundle(tmp_path / "b", name="iris", model_bytes=exported, golden=golden, class_labels=("a", "b", "c"))
    assert list(tmp_path.iterdir()) == []


def test_labels_that_the_graph_does_not_tell_are_the_manifests_own(tmp_path, write_bundle_of_doubling):
    write_bundle_of_doubling(tmp_path / "b", class_labels=("a", "b"))
    check_contents(read_verified(tmp_path / "b"))


def test_the_same_arguments_make_the_same_digest_wherever_the_folder_is(tmp_path, write_bundle_of_doubling):
    digests = {write_bundle_of_doubling(tmp_path / name).digest for name in ("a", "deeper/b")}
    assert len(digests) == 1
    assert write_bundle_of_doubling(tmp_path / "c", meaning={"x": 1}).digest not in digests


def test_a_bundle_is_never_written_over_another(bundle, write_bundle_of_doubling):
    before = read_verified(bundle)
    with pytest.raises(BadDocument, match="a new or empty folder"):
        write_bundle_of_doubling(bundle)
    assert read_verified(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_a_bundle_with_a_zipmap_holds_the_graph_that_will_be_served(tmp_path, sklearn_export):
    from registry_client.onnx_model import read_onnx
    from registry_client.reference_run import record_golden

    exported = sklearn_export(True)
    golden = record_golden(read_onnx(exported))
    manifest = write_bundle(tmp_path / "b", name="iris", model_bytes=exported, golden=golden)
    verified = read_verified(tmp_path / "b", manifest.digest)
    assert manifest.class_labels == (0, 1, 2)
    assert verified.model_bytes != exported
    check_contents(verified, ReferenceRun(verified.model_bytes, manifest.signature))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"meaning": {"x": float("nan")}}, "meaning: expected plain JSON"),
        ({"meaning": {1: "a"}}, "meaning: expected plain JSON, got values that JSON would change"),
        ({"lineage": Lineage(code={"path": Path()})}, "lineage.code: expected plain JSON"),
        ({"lineage": Lineage(data={"a": (1, 2)})}, "lineage.data: expected plain JSON"),
        ({"tolerance": Tolerance(rtol=-1.0)}, "golden_tolerance.rtol"),
        ({"name": "a b"}, "name"),
        ({"extra_files": {"../up": b""}}, "plain file names"),
        ({"extra_files": {"model.onnx": b""}}, "a name of its own"),
        ({"class_labels": (1.5,)}, "class_labels"),
    ],
)
def test_what_cannot_be_bundled_is_refused_and_nothing_is_written(tmp_path, write_bundle_of_doubling, change, expected):
    with pytest.raises(BadDocument, match=expected):
        write_bundle_of_doubling(tmp_path / "b", **change)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_served_is_not_bundled(tmp_path, write_bundle_of_doubling):
    with pytest.raises(UnservableModel):
        write_bundle_of_doubling(tmp_path / "b", model_bytes=b"nonsense")


def test_a_tolerance_given_as_integers_reads_back(tmp_path, write_bundle_of_doubling):
    manifest = write_bundle_of_doubling(tmp_path / "b", tolerance=Tolerance(rtol=0, atol=0))
    assert read_verified(tmp_path / "b", manifest.digest).manifest == manifest


def test_an_unpacked_bundle_is_the_bundle(bundle, tmp_path):
    verified = read_verified(bundle)
    unpack_bundle(tmp_path / "again", verified)
    assert read_verified(tmp_path / "again", verified.digest) == verified
    assert read_golden((tmp_path / "again" / "golden.json").read_bytes()).to_bytes() == verified.golden().to_bytes()


def rewrite(bundle: Path, manifest: dict[str, object]) -> None:
    """A forger's work: a manifest in canonical form with a matching digest file."""
    content = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    (bundle / "manifest.json").write_bytes(content)
    (bundle / "manifest.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  manifest.json\n")
