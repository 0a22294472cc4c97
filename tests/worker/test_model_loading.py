"""Loading: a file or an artifact becomes a served model, or one line that says why not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from registry_client.bundle import write_bundle
from registry_client.folder import FolderRegistry
from registry_client.golden import make_golden
from registry_client.onnx_model import read_onnx
from server.settings import ModelSettings, RegistrySettings, Settings
from server.worker.models.loading import ModelRefused, load_model
from server.worker.models.served import ServedModel
from server.worker.models.session import OnnxSession
from tests.worker.onnx_graphs import FLOAT, centred, doubled, model_bytes, node, written

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def load_file(path: Path) -> ServedModel:
    wanted = ModelSettings(name="model", onnx=path)
    return load_model(wanted, Settings(models=(wanted,)))


def push(folder: Path, content: bytes, y: np.ndarray) -> Settings:
    """A registry with one version of `model`, whose golden example says that X gives `y`."""
    golden = make_golden(read_onnx(content).signature, [({"x": X}, {"y": y})])
    write_bundle(folder / "bundle", name="model", model_bytes=content, golden=golden)
    FolderRegistry(folder / "registry").push(folder / "bundle", aliases=["stable"])
    return Settings(registry=RegistrySettings(path=folder / "registry", cache=folder / "cache"))


def load_reference(settings: Settings, reference: str = "@stable") -> ServedModel:
    return load_model(ModelSettings(name="model", reference=reference), settings)


def test_a_files_digest_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    model = load_file(written(tmp_path, doubled()))
    assert model.digest == hashlib.sha256(doubled()).hexdigest()
    assert (model.version, model.batchable) == ("0", True)
    np.testing.assert_array_equal(model.session.run({"x": X})["y"], X + X)


def test_an_artifacts_digest_is_its_manifests(tmp_path: Path) -> None:
    settings = push(tmp_path, doubled(), X + X)
    version = FolderRegistry(tmp_path / "registry").resolve("model", "@stable")
    for reference in ("@stable", "1"):
        model = load_reference(settings, reference)
        assert (model.version, model.digest) == ("1", version.digest)
        np.testing.assert_array_equal(model.session.run({"x": X})["y"], X + X)


def test_a_model_that_does_not_answer_its_golden_examples_is_refused(tmp_path: Path) -> None:
    settings = push(tmp_path, doubled(), X + X + np.float32(0.01))
    with pytest.raises(ModelRefused, match=r"model model: golden example 0, output 'y', index \[0, 0\]"):
        load_reference(settings)


def test_a_reference_that_is_not_there_is_refused(tmp_path: Path) -> None:
    settings = push(tmp_path, doubled(), X + X)
    for reference in ("@canary", "2"):
        with pytest.raises(ModelRefused, match="model model: "):
            load_reference(settings, reference)


def test_a_file_flipped_by_a_bit_is_refused_naming_both_hashes(tmp_path: Path) -> None:
    settings = push(tmp_path, doubled(), X + X)
    (stored,) = (tmp_path / "registry").rglob("model.onnx")
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.chmod(0o600)
    stored.write_bytes(content)
    with pytest.raises(ModelRefused, match=hashlib.sha256(doubled()).hexdigest()):
        load_reference(settings)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "0 bytes"),
        (doubled()[:-20], "ONNX"),
        (b"\x80\x04pickle", "pickle"),
        (model_bytes([node("Nonsense", ["x"], ["y"])], {"x": (FLOAT, [1])}, {"y": (FLOAT, [1])}), "Nonsense"),
    ],
    ids=["empty", "truncated", "pickle", "unknown operator"],
)
def test_a_file_that_cannot_be_served_is_refused_in_one_line(tmp_path: Path, content: bytes, text: str) -> None:
    with pytest.raises(ModelRefused, match="model model: ") as caught:
        load_file(written(tmp_path, content))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="no file at"):
        load_file(tmp_path / "none.onnx")


def test_a_model_whose_rows_depend_on_each_other_is_served_unbatched(tmp_path: Path) -> None:
    model = load_file(written(tmp_path, centred()))
    assert not model.batchable
    assert "depends on the other rows" in model.batching_note


def test_a_session_refuses_a_bad_run_and_serves_on(tmp_path: Path) -> None:
    from server.worker.status import StatusError

    model = load_file(written(tmp_path, doubled()))
    assert isinstance(model.session, OnnxSession)
    with pytest.raises(StatusError, match="INVALID_ARGUMENT: inputs: expected values"):
        model.session.run({"x": np.zeros((1, 5), np.float32)})
    np.testing.assert_array_equal(model.session.run({"x": X})["y"], X + X)
