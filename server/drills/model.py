"""The model that drills serve: who is about to leave, from four numbers about a customer; its versions and its callers.

Made here and not shipped, so that a drill needs nothing but the server. Used by the incidents, and by tests that want a
model with a baseline. Always: the population that callers are drawn from is the one that the baseline was made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from registry_client.baseline.builder import Choices
from registry_client.baseline.document import Baseline
from registry_client.baseline.reference import Batch, Naming, build_baseline
from registry_client.bundle import write_bundle
from registry_client.manifest import Lineage
from registry_client.onnx_model import read_onnx
from registry_client.opening import open_registry
from registry_client.reference_run import ReferenceRun, record_golden

Rows = npt.NDArray[np.float32]

NAME: Final = "churn"
INPUT, OUTPUT = "features", "score"
FEATURES: Final = ("age", "tenure_months", "monthly_spend", "support_minutes")
MEANS: Final = np.array([45.0, 30.0, 60.0, 12.0])
DEVIATIONS: Final = np.array([12.0, 10.0, 20.0, 4.0])
WEIGHTS: Final = np.array([0.3, -0.6, 0.4, 0.5])  # of a standard deviation of each
assert len(FEATURES) == len(MEANS) == len(DEVIATIONS) == len(WEIGHTS)
REFERENCE_ROWS: Final = 20_000  # of which a window may be worth a tenth
REFERENCE_SEED: Final = 1
BAD_FROM_AGE: Final = 60.0  # one caller of ten; made-up rows of a trial are hardly ever so old
OPSET, IR_VERSION = 17, 9


def population(random: np.random.Generator, rows: int, shift: Mapping[str, float] | None = None) -> Rows:
    """float32[rows, 4]: customers as the model knows them. shift: by feature, in its own standard deviations."""
    moved = np.array([(shift or {}).get(name, 0.0) for name in FEATURES])
    drawn: Rows = (MEANS + DEVIATIONS * (random.standard_normal((rows, len(FEATURES))) + moved)).astype(np.float32)
    return drawn


def model_bytes(*, bias: float = 0.0, nan_from_age: float | None = None) -> bytes:
    """score = sigmoid(bias + weights of standardised features), float32 [rows, 4] to [rows, 1].

    bias: tells versions apart. nan_from_age: the score is NaN from this age on.
    """
    constants = {
        "means": MEANS, "deviations": DEVIATIONS, "weights": WEIGHTS[:, np.newaxis], "bias": np.array([bias]),
    }  # fmt: skip
    good = OUTPUT if nan_from_age is None else "good_score"
    nodes = [
        helper.make_node("Sub", [INPUT, "means"], ["centred"]),
        helper.make_node("Div", ["centred", "deviations"], ["standardised"]),
        helper.make_node("MatMul", ["standardised", "weights"], ["weighted"]),
        helper.make_node("Add", ["weighted", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], [good]),
    ]
    initializers = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in constants.items()]
    if nan_from_age is not None:
        column = np.array([FEATURES.index("age")], np.int64)
        initializers += [
            numpy_helper.from_array(column, "age_column"),
            numpy_helper.from_array(np.array(nan_from_age, np.float32), "bad_from"),
            numpy_helper.from_array(np.array(np.nan, np.float32), "nan"),
        ]
        nodes += [
            helper.make_node("Gather", [INPUT, "age_column"], ["ages"], axis=1),
            helper.make_node("Less", ["ages", "bad_from"], ["younger"]),
            helper.make_node("Where", ["younger", good, "nan"], [OUTPUT]),
        ]
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", len(FEATURES)])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 1])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def baseline(content: bytes) -> Baseline:
    """What the model learnt from: REFERENCE_ROWS customers, and what it answers to them."""
    model = read_onnx(content)
    leaning = np.abs(WEIGHTS) / np.abs(WEIGHTS).sum()
    built = build_baseline(
        model.signature,
        [Batch({INPUT: population(np.random.default_rng(REFERENCE_SEED), REFERENCE_ROWS)})],
        run=ReferenceRun(content, model.signature),
        naming=Naming({INPUT: FEATURES}),
        choices=Choices(importances=dict(zip(FEATURES, np.round(leaning, 6).tolist(), strict=True))),
    )
    return built.baseline


class Versions:
    """A folder registry under `folder`, and what each of its versions answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.registry = folder / "registry"
        self.answers: dict[str, ReferenceRun] = {}
        self.digests: dict[str, str] = {}

    def push(self, content: bytes, learnt_from: Baseline | None = None) -> str:
        """One more version, its number; the first is @stable."""
        number = len(self.answers) + 1
        model = read_onnx(content)
        bundle = self._folder / f"bundle-{number}"
        write_bundle(
            bundle,
            name=NAME,
            model_bytes=model.model_bytes,
            golden=record_golden(model),
            lineage=Lineage(parameters={"drill": number}),
            meaning={"features": list(FEATURES)},
            baseline=learnt_from,
        )
        pushed = open_registry(str(self.registry)).push(bundle, aliases=["stable"] if number == 1 else [])
        version = str(pushed.version)
        self.answers[version] = ReferenceRun(model.model_bytes, model.signature)
        self.digests[version] = pushed.digest
        return version
