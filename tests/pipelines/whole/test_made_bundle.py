"""A bundle that the pipeline made, tampered with: `roost verify` finds it in every file, signed and unsigned."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.running import run_stages, work_of
from registry_client.manifest import FileEntry
from registry_client.verify import read_verified
from server.cli.application import app
from tests.pipelines.records import FEW, ROWS, with_records
from tests.registry_client.signing_keys import Pair, make_pair

FILES = {
    "model.onnx", "golden.json", "baseline.json", "evaluation.json", "explanations.json", "environment.lock", "card.md",
    "card.html", "importances.svg", "explained_rows.svg", "calibration.svg", "slices.svg",
}  # fmt: skip
DIGESTS = {"manifest.json", "manifest.sha256"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Path:
    """The bundle, with its signature beside it."""
    folder = with_records(tmp_path_factory.mktemp("made") / "roost")
    changes = [f"snapshot.rows_max={ROWS}", *FEW, "train.trees.count=20"]
    work = work_of("employment", registry="registry", folder=folder, changes=changes)
    run_stages(work, "bundle")
    assert roost("sign", work.of("bundle"), "--key", pair.private)[0] == 0
    return work.of("bundle")


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy, to be tampered with."""
    for signature in made.parent.glob("bundle.signature-*"):
        shutil.copy2(signature, tmp_path)
    return Path(shutil.copytree(made, tmp_path / "bundle"))


def roost(*arguments: object) -> tuple[int, str]:
    """Exit code, and all that was said."""
    ended = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return ended.exit_code, ended.output


def check_found(bundle: Path, pair: Pair, *names: str) -> None:
    """Without a signer and with one, in a line that names one of `names`."""
    for signer in ((), ("--signer", pair.option)):
        code, said = roost("verify", bundle, *signer)
        assert code == 1, said
        assert any(name in said for name in names), said


def test_as_it_was_made_it_is_sound_and_all_that_is_promised_is_in_it(bundle: Path, pair: Pair) -> None:
    assert {path.name for path in bundle.iterdir()} == FILES | DIGESTS
    code, said = roost("verify", bundle, "--signer", pair.option)
    assert (code, "signed by release" in said) == (0, True), said


@pytest.mark.parametrize("name", sorted(FILES | DIGESTS))
def test_one_bit_is_found_in_every_file(name: str, bundle: Path, pair: Pair) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    check_found(bundle, pair, name, *(DIGESTS if name in DIGESTS else ()))


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_is_gone_cut_or_another_of_the_bundle_s_is_found(name: str, bundle: Path, pair: Pair) -> None:
    content = (bundle / name).read_bytes()
    (bundle / name).unlink()
    check_found(bundle, pair, name)
    (bundle / name).write_bytes(content[:-1])
    check_found(bundle, pair, name)
    (bundle / name).write_bytes((bundle / min(FILES - {name})).read_bytes())
    check_found(bundle, pair, name)


def test_a_file_too_many_is_found(bundle: Path, pair: Pair) -> None:
    (bundle / "importances.png").write_bytes(b"PNG")
    check_found(bundle, pair, "importances.png")


@pytest.mark.parametrize("name", sorted(FILES - {"model.onnx", "golden.json", "baseline.json"}))
def test_a_forgery_whose_digests_all_fit_is_found_by_the_signature(name: str, bundle: Path, pair: Pair) -> None:
    found = read_verified(bundle)
    content = found.files[name] + b" "
    entry = FileEntry(hashlib.sha256(content).hexdigest(), len(content))
    manifest = replace(found.manifest, files={**found.manifest.files, name: entry})
    (bundle / name).write_bytes(content)
    (bundle / "manifest.json").write_bytes(manifest.to_bytes())
    (bundle / "manifest.sha256").write_bytes(manifest.digest_line())
    assert roost("verify", bundle)[0] == 0  # which is what signatures are for
    code, said = roost("verify", bundle, "--signer", pair.option)
    assert (code, "made for other bytes" in said) == (1, True), said
