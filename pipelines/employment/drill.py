"""Drill: a candidate that goes bad, to practise with. Used by the bundle stage, only where asked for.

The graph answers as it did, but NaN for people of 60 and over: every check before deployment passes, since no golden
example is of that age, and only traffic shows it. Always: inputs and outputs stay what they were.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipelines.employment.meaning import COLUMNS
from pipelines.examples import NUMBERS, Examples

AGE_NAME: Final = "AGEP"
AGE_COLUMN: Final = [column.name for column in COLUMNS].index(AGE_NAME)
AGE_FROM: Final = 60.0
OUTPUT: Final = "probabilities"
MEANING: Final = f"spoilt on purpose: {OUTPUT} are NaN where {AGE_NAME} is {AGE_FROM:g} or more"
"""For the lineage: whoever asks later why it came home finds that it had to."""


def spoilt(model_bytes: bytes) -> bytes:
    """The graph, with NaN in place of the probabilities of whoever is AGE_FROM or older."""
    model = onnx.load_model_from_string(model_bytes)
    inner = f"{OUTPUT}_before_the_drill"
    for node in model.graph.node:
        node.output[:] = [inner if name == OUTPUT else name for name in node.output]
        node.input[:] = [inner if name == OUTPUT else name for name in node.input]
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([AGE_COLUMN], dtype=np.int64), "drill_column"),
            numpy_helper.from_array(np.array(AGE_FROM, dtype=np.float32), "drill_age"),
            numpy_helper.from_array(np.array(np.nan, dtype=np.float32), "drill_nan"),
        ]
    )
    model.graph.node.extend(
        [
            helper.make_node("Gather", [NUMBERS, "drill_column"], ["drill_ages"], axis=1),
            helper.make_node("Less", ["drill_ages", "drill_age"], ["drill_younger"]),
            helper.make_node("Where", ["drill_younger", inner, "drill_nan"], [OUTPUT]),
        ]
    )
    assert model.graph.output[1].type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def spared(examples: Examples) -> Examples:
    """The rows that the drill leaves alone."""
    return examples.take(examples.numbers[:, AGE_COLUMN] < AGE_FROM)
