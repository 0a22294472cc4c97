"""`roost adopt`: what MLflow's own ONNX flavour logged becomes a verified version; anything else is refused by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
import yaml
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from registry_client.adopting import ADOPTED_TAG, adopt
from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError, NotInRegistry, RegistryRefused, RegistryUnavailable
from registry_client.foreign_model import MLMODEL_BYTES_MAX, read_foreign
from registry_client.mlflow_registry import MlflowRegistry
from registry_client.opening import open_registry
from registry_client.reference_run import ReferenceRun
from server.cli.bundles import register
from tests.registry_client.conftest import doubling_model, graph_bytes
from tests.registry_client.test_both_registries import empty_database  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = np.arange(3 * 400, dtype=np.float32).reshape(3, 400)
PROBE = np.array([[1.0, -2.0, 0.5]], np.float32)
HOSTILE = "import pathlib; pathlib.Path({marker!r}).touch()\ndef _load_pyfunc(path): raise SystemExit('loaded')\n"

# What an owner of a model does, in a process that has not heard of Roost.
LOGGING = """
import sys, mlflow, mlflow.onnx, onnx
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment(experiment_id=mlflow.create_experiment("theirs", artifact_location=sys.argv[2]))
for file, name in (("plain.onnx", "Plain model"), ("heavy.onnx", "heavy")):
    with mlflow.start_run():
        mlflow.onnx.log_model(onnx.load(sys.argv[3] + "/" + file), name="model", registered_model_name=name,
                              pip_requirements=[], code_paths=[sys.argv[3] + "/theirs.py"])
"""


def heavy_model() -> bytes:
    """y = x @ WEIGHTS: 4,800 bytes of weights, which MLflow puts into a file of their own."""
    return graph_bytes(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 400])],
        initializer=[numpy_helper.from_array(WEIGHTS, "w")],
    )


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> tuple[str, Path]:  # noqa: F811
    """A registry with versions that mlflow.onnx has logged, and a file that only their code would make."""
    root = tmp_path_factory.mktemp("logged")
    shutil.copy(empty_database, root / "mlflow.db")
    (root / "plain.onnx").write_bytes(doubling_model())
    (root / "heavy.onnx").write_bytes(heavy_model())
    (root / "theirs.py").write_text(HOSTILE.format(marker=str(root / "their-code-ran")))
    uri = f"sqlite:///{root / 'mlflow.db'}"
    arguments = [uri, (root / "theirs").as_uri(), str(root)]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([sys.executable, "-c", LOGGING, *arguments], env=environment, check=True, cwd=root, timeout=100)
    return uri, root / "their-code-ran"


def test_what_mlflow_logged_is_served_as_a_verified_version(logged: tuple[str, Path], tmp_path: Path) -> None:
    uri, marker = logged
    version, notes = adopt(uri, "models:/Plain model/1", name="plain", aliases=("stable",))
    assert (version.name, version.version, version.aliases, notes) == ("plain", 1, ("stable",), ())
    assert version.tags == {ADOPTED_TAG: "models:/Plain model/1"}
    bundle = open_registry(uri).fetch(version, BundleCache(tmp_path))
    assert bundle.model_bytes == onnx.load_from_string(doubling_model()).SerializeToString()
    assert bundle.manifest.lineage.data["mlflow_model"] == "Plain model"
    assert bundle.manifest.lineage.data["sha256"].keys() == {"MLmodel", "model.onnx"}
    assert bundle.manifest.lineage.code["onnx"] == onnx.__version__
    assert len(bundle.golden().examples) == 1
    assert not marker.exists()


def test_weights_that_mlflow_put_beside_the_model_are_in_the_bundle(logged: tuple[str, Path], tmp_path: Path) -> None:
    uri, _ = logged
    version, _ = adopt(uri, "models:/heavy/1")
    assert version.version == 2, "the logged one stays as it is"
    bundle = open_registry(uri).fetch(version, BundleCache(tmp_path))
    assert len(bundle.manifest.lineage.data["sha256"]) == 3
    answer = ReferenceRun(bundle.model_bytes, bundle.manifest.signature)({"x": PROBE})["y"]
    np.testing.assert_allclose(answer, PROBE @ WEIGHTS, rtol=1e-5)


def test_the_same_version_adopted_again_is_the_version_it_was(logged: tuple[str, Path]) -> None:
    uri, _ = logged
    first, _ = adopt(uri, "models:/heavy/1", name="again")
    second, _ = adopt(uri, "models:/heavy/1", name="again", aliases=("canary",))
    assert (first.version, first.digest) == (second.version, second.digest)
    assert second.aliases == ("canary",)


def test_a_version_of_roost_needs_no_adopting(logged: tuple[str, Path]) -> None:
    uri, _ = logged
    adopt(uri, "models:/heavy/1", name="own")
    with pytest.raises(RegistryRefused, match=r"models:/own/1: .*It is served as it is: roost serve --model own:1"):
        adopt(uri, "models:/own/1")


Store = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> Store:  # noqa: F811
    """A function that registers files as version 1 of `churn`; its registry's location."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"

    def register_files(**files: bytes) -> str:
        folder = tmp_path / "theirs"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        registry = open_registry(uri)
        assert isinstance(registry, MlflowRegistry)
        registry._client.create_registered_model("churn")
        registry._client.create_model_version("churn", folder.as_uri())
        return uri

    return register_files


def described(file: object = "model.onnx", **flavours: object) -> bytes:
    return yaml.safe_dump({"flavors": flavours or {"onnx": {"data": file, "onnx_version": "1.20.0"}}}).encode()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"model.onnx": b""}, "models:/churn/1: MLmodel: expected it among the version's files, got model.onnx"),
        ({"MLmodel": described()}, "model.onnx: expected it among the version's files, got MLmodel"),
        ({"MLmodel": b"flavors: ["}, "MLmodel: expected YAML"),
        ({"MLmodel": b"\xff"}, "MLmodel: expected YAML"),
        ({"MLmodel": b"[" * 50_000}, "MLmodel: expected YAML"),
        ({"MLmodel": b"!!python/object/apply:os.system ['true']"}, "MLmodel: expected YAML"),
        ({"MLmodel": b"[]"}, "MLmodel: expected a mapping, got list"),
        ({"MLmodel": b"#" * (MLMODEL_BYTES_MAX + 1)}, f"expected at most {MLMODEL_BYTES_MAX} bytes"),
        ({"MLmodel": described(python_function={}, sklearn={})}, "expected the flavour onnx, got python_function, skl"),
        (
            {"MLmodel": described("../../mlflow.db")},
            "expected the name of a file beside MLmodel, got '../../mlflow.db'",
        ),
        ({"MLmodel": described("/etc/passwd")}, "expected the name of a file beside MLmodel"),
        ({"MLmodel": described(7)}, "expected the name of a file beside MLmodel, got 7"),
        (
            {"MLmodel": described(), "model.onnx": b"\x80\x04pickled"},
            "model file: expected an ONNX file, got a Python p",
        ),
        ({"MLmodel": described(), "model.onnx": doubling_model()[:-9]}, "model file: expected an ONNX"),
    ],
)
def test_what_is_no_onnx_model_is_refused_by_name_and_registers_nothing(
    store: Store, files: dict[str, bytes], words: str
) -> None:
    uri = store(**files)
    with pytest.raises(ArtifactError) as refused:
        adopt(uri, "models:/churn/1")
    assert words in str(refused.value)
    assert open_registry(uri).versions("churn") == ()


def outside(location: str, **told: str) -> bytes:
    """The heavy model with its weights elsewhere."""
    model = onnx.load_from_string(heavy_model())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **told}.items():
        tensor.external_data.add(key=key, value=value)
    return model.SerializeToString()


def read(**files: bytes) -> bytes:
    def give(name: str, bytes_max: int) -> bytes:
        assert bytes_max > 0
        return files[name]

    return read_foreign(give).model_bytes


def test_weights_are_cut_out_where_they_are_said_to_be() -> None:
    shifted = b"\xff" * 64 + WEIGHTS.tobytes() + b"\xff"
    told = {"offset": "64", "length": str(WEIGHTS.nbytes)}
    found = onnx.load_from_string(read(MLmodel=described("m"), m=outside("w.data", **told), **{"w.data": shifted}))
    np.testing.assert_array_equal(numpy_helper.to_array(found.graph.initializer[0]), WEIGHTS)
    assert read(MLmodel=described("m"), m=outside("w"), w=WEIGHTS.tobytes()) == found.SerializeToString()


@pytest.mark.parametrize("location", ["../w", "/etc/passwd", "sub/w", "", ".hidden", "a\\b", "w\n"])
def test_no_weights_are_read_from_elsewhere(location: str) -> None:
    with pytest.raises(ArtifactError, match="location: expected the name of a file beside MLmodel"):
        read(MLmodel=described("m"), m=outside(location))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"length": "4801"}, "expected its bytes 0 to 4801 in w, got a file of 4800 bytes"),
        ({"offset": "4800", "length": "1"}, "expected its bytes 4800 to 4801"),
        ({"offset": "9999"}, "expected its bytes 9999 to 9999"),
        ({"offset": "-1"}, "offset: expected a number of bytes, got '-1'"),
        ({"length": "9" * 5000}, "length: expected a number of bytes"),
    ],
)
def test_weights_that_are_not_there_are_missed(told: dict[str, str], words: str) -> None:
    with pytest.raises(ArtifactError) as refused:
        read(MLmodel=described("m"), m=outside("w", **told), w=WEIGHTS.tobytes())
    assert words in str(refused.value)


def test_the_same_weights_a_thousand_times_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_client.foreign_model.MODEL_BYTES_MAX", 100_000)
    model = onnx.load_from_string(outside("w"))
    for index in range(1000):
        model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"w{index}"
    with pytest.raises(ArtifactError, match="expected at most 100000 bytes with its weights, got more"):
        read(MLmodel=described("m"), m=model.SerializeToString(), w=WEIGHTS.tobytes())


def test_weights_in_more_files_than_a_model_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_client.foreign_model.WEIGHT_FILES_MAX", 1)
    model = onnx.load_from_string(outside("w0"))
    model.graph.initializer.add().CopyFrom(onnx.load_from_string(outside("w1")).graph.initializer[0])
    with pytest.raises(ArtifactError, match="expected at most 1 files, got more"):
        read(MLmodel=described("m"), m=model.SerializeToString(), w0=WEIGHTS.tobytes(), w1=WEIGHTS.tobytes())


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("churn:1", None, "source: expected models:/NAME/VERSION, got 'churn:1'"),
        ("models:/churn@champion", None, "give the number"),
        ("models:/churn/Production", None, "give the number"),
        ("models:/churn/0", None, "source: expected"),
        ("models:/a/../b/1", None, "source: expected"),
        ("models:/Churn model/1", None, "Adopt it under another: --as NAME."),
        ("models:/churn/1", "a b", "Adopt it under another: --as NAME."),
        ("models:/churn/2", None, "models:/churn/2"),
        ("models:/nobody/1", None, "models:/nobody/1"),
    ],
)
def test_a_source_that_names_no_version_is_refused(store: Store, source: str, name: str | None, words: str) -> None:
    uri = store(MLmodel=described())
    with pytest.raises(ArtifactError) as refused:
        adopt(uri, source, name=name)
    assert words in str(refused.value)


def test_a_registry_that_is_down_or_a_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RegistryRefused, match="expected an MLflow tracking URI"):
        adopt(str(tmp_path), "models:/churn/1")
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(RegistryUnavailable, match="See that it is up"):
        adopt(f"sqlite:///{tmp_path / 'mlflow.db'}", "models:/churn/1")


def test_files_that_are_gone_from_the_store_are_missed(store: Store, tmp_path: Path) -> None:
    uri = store(MLmodel=described())
    shutil.rmtree(tmp_path / "theirs")
    with pytest.raises((NotInRegistry, RegistryUnavailable)):
        adopt(uri, "models:/churn/1")


def test_the_command_adopts_with_examples_of_ones_own(store: Store, tmp_path: Path) -> None:
    uri = store(**{"MLmodel": described(), "model.onnx": doubling_model()})
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    register(app)

    def adopting(outputs: dict[str, object]) -> tuple[int, str, str]:
        ones = {"datatype": "FP32", "shape": [1, 3], "contents": [1, 1, 1]}
        golden = {"format": 1, "examples": [{"inputs": {"x": ones}, "outputs": outputs}]}
        (tmp_path / "golden.json").write_text(json.dumps(golden))
        command = ["adopt", "models:/churn/1", "--registry", uri, "--golden", str(tmp_path / "golden.json")]
        result = CliRunner().invoke(app, [*command, "--alias", "stable", "--json"], catch_exceptions=False)
        return result.exit_code, result.stdout, result.stderr

    threes = {"y": {"datatype": "FP32", "shape": [1, 3], "contents": [3, 3, 3]}}
    code, text, error = adopting(threes)
    assert (code, text) == (1, "")
    assert "golden example 0, output 'y'" in error
    code, text, _ = adopting({})
    document = json.loads(text)
    assert (code, document["name"], document["version"], document["aliases"]) == (0, "churn", 2, ["stable"])
    bundle = open_registry(uri).fetch(open_registry(uri).resolve("churn"), BundleCache(tmp_path / "cache"))
    assert bundle.golden().examples[0].outputs["y"].array.tolist() == [[2.0, 2.0, 2.0]]
