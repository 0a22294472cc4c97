"""Bundle: graph, checksums, golden examples, baseline, lineage and meaning. After `baseline.py`, before `register.py`.

Always: nothing in it tells when, where or by whom it was made, so that the same work has the same digest.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime

from pipelines.employment import MODEL_NAME, meaning
from pipelines.employment.convert import PROBABILITY_ERROR_MAX, Parity, run
from pipelines.employment.evaluate import YearScore
from pipelines.employment.features import Examples
from pipelines.employment.snapshot import Source
from pipelines.employment.train import Parameters
from registry_client.baseline.document import Baseline
from registry_client.bundle import write_bundle
from registry_client.golden import Golden, Tensors, make_golden
from registry_client.manifest import Lineage, Manifest
from registry_client.onnx_model import read_onnx

# One row alone and some in a batch: a runtime may take another path for one.
GOLDEN_ROW_COUNTS = (1, 7)


def lineage(source: Source, reference: Examples, evaluation: Examples, parameters: Parameters) -> Lineage:
    """Where the model comes from: the wheel, the rows taken out of it, the code that ran and its parameters."""
    return Lineage(
        data={
            "package": source.package,
            "version": source.version,
            "wheel_sha256": source.wheel_sha256,
            "training": {"rows": len(reference.labels), "sha256": reference.digest()},
            "evaluation": {"rows": len(evaluation.labels), "sha256": evaluation.digest()},
        },
        code={
            "pipeline": "pipelines.employment",
            "sha256": code_digest(),
            "lightgbm": version("lightgbm"),
            "onnxmltools": version("onnxmltools"),
        },
        parameters=parameters.as_json(),
    )


def code_digest(folder: Path = Path(__file__).parent) -> str:
    """sha256 over names and bytes of the stages' files."""
    state = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        state.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def golden_examples(model_bytes: bytes, model: onnxruntime.InferenceSession, evaluation: Examples) -> Golden:
    """Rows spread evenly over the evaluation years, with what the graph answers."""
    rows = np.linspace(0, len(evaluation.matrix) - 1, sum(GOLDEN_ROW_COUNTS)).astype(np.int64)
    examples: list[tuple[Tensors, Tensors]] = []
    for chosen in np.split(rows, np.cumsum(GOLDEN_ROW_COUNTS)[:-1]):
        features = evaluation.matrix[chosen]
        labels, probabilities = run(model, features)
        examples.append(({"features": features}, {"label": labels, "probabilities": probabilities}))
    return make_golden(read_onnx(model_bytes).signature, examples)


def bundle(
    folder: Path,
    *,
    model_bytes: bytes,
    golden: Golden,
    learnt_from: Baseline,
    of: Lineage,
    scores: tuple[YearScore, ...],
    parity: Parity,
) -> Manifest:
    """Writes the bundle into `folder`, which must not exist yet."""
    return write_bundle(
        folder,
        name=MODEL_NAME,
        model_bytes=model_bytes,
        golden=golden,
        baseline=learnt_from,
        lineage=of,
        class_labels=tuple(meaning.LABELS),
        meaning={
            **meaning.as_json(),
            "evaluation": [score.as_json() for score in scores],
            # The bound that held, not the error seen: that depends on the machine's rounding.
            "parity": {"rows": parity.rows, "probability_error_max": PROBABILITY_ERROR_MAX},
        },
    )
