"""Profiles judge a server by the very model that it serves, verified, wherever that lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.models import mlp_model
from loadtests import served_model
from registry_client.bundle import write_bundle
from registry_client.folder import FolderRegistry
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import record_golden


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    model = read_onnx(mlp_model())
    write_bundle(tmp_path / "bundle", name="mlp", model_bytes=model.model_bytes, golden=record_golden(model))
    return tmp_path / "bundle"


def test_file_bundle_and_registry_give_the_same_model(bundle: Path, tmp_path: Path):
    FolderRegistry(tmp_path / "registry").push(bundle, aliases=["stable"])
    expected = (bundle / "model.onnx").read_bytes()
    assert served_model.of_file(bundle / "model.onnx") == expected
    assert served_model.of_bundle(bundle) == expected
    assert served_model.of_registry(tmp_path / "registry", "mlp", "stable") == expected


def test_a_bundle_with_a_flipped_bit_is_no_yardstick(bundle: Path):
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[1000] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.onnx"):
        served_model.of_bundle(bundle)


def test_an_alias_that_points_nowhere_is_refused_with_a_way_out(bundle: Path, tmp_path: Path):
    FolderRegistry(tmp_path / "registry").push(bundle)
    with pytest.raises(ValueError, match=r"stable.*--onnx FILE or --bundle FOLDER"):
        served_model.of_registry(tmp_path / "registry", "mlp", "stable")
