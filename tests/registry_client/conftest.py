"""Models that the tests of this room share: real exports, and small graphs made by hand."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from registry_client.bundle import write_bundle
from registry_client.golden import make_golden
from registry_client.manifest import Lineage, Manifest
from registry_client.onnx_model import read_onnx


def graph_bytes(nodes: list[Any], inputs: list[Any], outputs: list[Any], *, opset: int = 17, **kwargs: Any) -> bytes:
    """A serialised model; `kwargs` go to make_graph, but for opset_imports and functions."""
    imports = kwargs.pop("opset_imports", [helper.make_opsetid("", opset)])
    functions = kwargs.pop("functions", [])
    graph = helper.make_graph(nodes, "g", inputs, outputs, **kwargs)
    model = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=9)
    return model.SerializeToString(deterministic=True)


@functools.cache
def doubling_model() -> bytes:
    """y = x + x, float32 [rows, 3]."""
    return graph_bytes(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])],
    )


@pytest.fixture
def make_model() -> Any:
    return graph_bytes


@pytest.fixture
def doubling() -> bytes:
    return doubling_model()


@functools.cache
def iris() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_iris

    features, target = load_iris(return_X_y=True)
    return features.astype(np.float32), target


@pytest.fixture(scope="session")
def iris_rows() -> np.ndarray:
    return iris()[0]


@pytest.fixture(scope="session")
def sklearn_export() -> Any:
    """A function (zipmap, string_labels) -> ONNX bytes of a logistic regression on iris."""

    @functools.cache
    def export(zipmap: bool, string_labels: bool = False) -> bytes:
        from skl2onnx import to_onnx
        from sklearn.linear_model import LogisticRegression

        features, target = iris()
        labels = np.array(["setosa", "versicolor", "virginica"])[target] if string_labels else target
        classifier = LogisticRegression(max_iter=200).fit(features, labels)
        options = {} if zipmap else {"zipmap": False}
        exported = to_onnx(classifier, features[:1], options=options)
        return bytes(exported.SerializeToString(deterministic=True))

    return export


@pytest.fixture(scope="session")
def lightgbm_export() -> bytes:
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    features, target = iris()
    classifier = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(features, (target > 0).astype(int))
    exported = convert_lightgbm(classifier, initial_types=[("x", FloatTensorType([None, 4]))])
    return bytes(exported.SerializeToString(deterministic=True))


@pytest.fixture(scope="session")
def sound_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with lineage, meaning and a file of its own. Copy it before you change it."""
    folder = tmp_path_factory.mktemp("bundles") / "sound"
    write_doubling(folder, extra_files={"card.md": b"# doubling\n"}, lineage=Lineage(parameters={"rate": 0.1}))
    return folder


@pytest.fixture
def write_bundle_of_doubling() -> Any:
    return write_doubling


def write_doubling(folder: Path, **kwargs: Any) -> Manifest:
    """A bundle of `doubling_model` with one golden row; `kwargs` go to write_bundle."""
    model = read_onnx(doubling_model())
    row = np.array([[0.1, -2.0, 3.5]], np.float32)
    golden = make_golden(model.signature, [({"x": row}, {"y": row + row})])
    return write_bundle(folder, **{"name": "doubling", "model_bytes": doubling_model(), "golden": golden, **kwargs})
