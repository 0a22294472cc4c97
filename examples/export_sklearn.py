"""A scikit-learn model as an ONNX file that Roost serves: rows of four measurements in, a species' probabilities out.

    .venv/bin/python examples/export_sklearn.py iris.onnx
    .venv/bin/roost serve --onnx iris=iris.onnx

Then ask it, in another terminal:

    .venv/bin/python -c "import numpy as np, roost; \
        print(roost.Client('127.0.0.1:8001').predict('iris', {'measurements': np.float32([[5.1, 3.5, 1.4, 0.2]])}))"
"""

from __future__ import annotations

import sys
from pathlib import Path

from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def export(target: Path) -> None:
    """Trains on the whole of the iris data and writes the graph to `target`."""
    flowers = load_iris()
    model = make_pipeline(StandardScaler(), LogisticRegression(random_state=0)).fit(flowers.data, flowers.target)
    graph = to_onnx(
        model,
        name="iris",
        # None: any number of rows, so that calls can share a batch.
        initial_types=[("measurements", FloatTensorType([None, 4]))],
        options={"zipmap": False},  # probabilities as a tensor, not as a list of dictionaries
    )
    target.write_bytes(graph.SerializeToString())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {Path(sys.argv[0]).name} FILE.onnx")
    export(Path(sys.argv[1]))
    print(f"wrote {sys.argv[1]}")
