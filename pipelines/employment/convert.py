"""Convert: the trees as an ONNX graph, and the proof that it answers alike. After `train.py`, before `evaluate.py`.

Always: input `features` float32[rows, 16]; outputs `label` int64[rows] and `probabilities` float32[rows, 2]; the bytes
depend on the trees alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from lightgbm import LGBMClassifier
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from pipelines.employment.features import COLUMN_NAMES, Examples

OPSET = 15
# float32 sums of a hundred leaves against float64: 1e-7 is seen; ten times that is still no change of an answer.
PROBABILITY_ERROR_MAX = 1e-6
PARITY_ROWS_PER_RUN = 16_384


class ParityError(Exception):
    """The graph does not answer as the trees do. It must not be served."""


@dataclass(frozen=True)
class Parity:
    """How far apart graph and trees are over `rows` rows, labels equal on all of them."""

    rows: int
    probability_error_max: float


def to_onnx(classifier: LGBMClassifier) -> bytes:
    """The graph. ZipMap is off, so that probabilities are a tensor and not a sequence of maps."""
    model = convert_lightgbm(
        classifier,
        name="employment",  # the default is random, and so would be the digest
        initial_types=[("features", FloatTensorType([None, len(COLUMN_NAMES)]))],
        zipmap=False,
        target_opset=OPSET,
    )
    _declare(model.graph.input[0], "rows", len(COLUMN_NAMES))
    outputs = {output.name: output for output in model.graph.output}
    # onnxmltools declares [1] for the label of any number of rows: ONNX Runtime warns of it at every batch.
    _declare(outputs["label"], "rows")
    _declare(outputs["probabilities"], "rows", 2)
    # They come out of a set, in another order in one process of four.
    operator_sets = sorted(model.opset_import, key=lambda one: str(one.domain))
    model.ClearField("opset_import")
    model.opset_import.extend(operator_sets)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def session(model_bytes: bytes) -> onnxruntime.InferenceSession:
    """One thread, CPU: as it is served."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model_bytes, options, providers=["CPUExecutionProvider"])


def run(
    model: onnxruntime.InferenceSession, matrix: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Labels int64[rows] and probabilities float32[rows, 2], in pieces, so that memory stays small."""
    pieces = [
        model.run(["label", "probabilities"], {"features": matrix[first : first + PARITY_ROWS_PER_RUN]})
        for first in range(0, len(matrix), PARITY_ROWS_PER_RUN)
    ]
    labels, probabilities = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    return labels, probabilities


def check_parity(classifier: LGBMClassifier, model: onnxruntime.InferenceSession, on: Examples) -> Parity:
    """Compare both on every row; raise where they differ by more than rounding."""
    labels, probabilities = run(model, on.matrix)
    expected = np.asarray(classifier.predict_proba(on.matrix))
    error = np.abs(probabilities - expected).max(axis=1)
    worst = int(error.argmax())
    if error[worst] > PROBABILITY_ERROR_MAX:
        raise ParityError(
            f"probabilities: expected {expected[worst].tolist()} at row {worst}, got {probabilities[worst].tolist()}, "
            f"further apart than {PROBABILITY_ERROR_MAX}. Check the converter's version against the lock."
        )
    # Where both classes are equally likely to the last digit, rounding may choose either label.
    decided = np.abs(expected[:, 1] - 0.5) > PROBABILITY_ERROR_MAX
    differs = np.flatnonzero(decided & (labels != expected.argmax(axis=1)))
    if differs.size:
        raise ParityError(f"label: {differs.size} rows differ from the trees' answer, first at row {differs[0]}.")
    return Parity(len(on.matrix), float(error[worst]))


def _declare(value: onnx.ValueInfoProto, *dimensions: str | int) -> None:
    shape = value.type.tensor_type.shape
    shape.ClearField("dim")
    for dimension in dimensions:
        if isinstance(dimension, str):
            shape.dim.add().dim_param = dimension
        else:
            shape.dim.add().dim_value = dimension
