"""The models that the behaviour suite serves: one for each thing that a model may be.

Every one is small, seeded and made by onnx.helper or skl2onnx; `bare` runs one on ONNX Runtime alone, the oracle.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.models import mlp_model

OPSET = 21
IR_VERSION = 10

# Protocol name: (ONNX element type, some values). BF16 and BYTES are written as they travel: bits, and bytes.
DATATYPES: dict[str, tuple[int, np.ndarray]] = {
    "BOOL": (TensorProto.BOOL, np.array([True, False, True, True])),
    "UINT8": (TensorProto.UINT8, np.array([0, 1, 200, 255], np.uint8)),
    "UINT16": (TensorProto.UINT16, np.array([0, 1, 40000, 65535], np.uint16)),
    "UINT32": (TensorProto.UINT32, np.array([0, 1, 3_000_000_000, 2**32 - 1], np.uint32)),
    "UINT64": (TensorProto.UINT64, np.array([0, 1, 2**63, 2**64 - 1], np.uint64)),
    "INT8": (TensorProto.INT8, np.array([-128, -1, 0, 127], np.int8)),
    "INT16": (TensorProto.INT16, np.array([-32768, -1, 0, 32767], np.int16)),
    "INT32": (TensorProto.INT32, np.array([-(2**31), -1, 0, 2**31 - 1], np.int32)),
    "INT64": (TensorProto.INT64, np.array([-(2**63), -1, 0, 2**63 - 1], np.int64)),
    "FP16": (TensorProto.FLOAT16, np.array([-1.5, 0.0, 65504.0, np.inf], np.float16)),
    "FP32": (TensorProto.FLOAT, np.array([-1.5, 0.1, np.nan, -np.inf], np.float32)),
    "FP64": (TensorProto.DOUBLE, np.array([-1.5, 0.1, np.nan, 1e300], np.float64)),
    "BF16": (TensorProto.BFLOAT16, np.array([0x3F80, 0x0000, 0xBFC0, 0x7F80], np.uint16)),
    "BYTES": (TensorProto.STRING, np.array([b"", b"a", "\u00e9\u4e2d".encode(), b"a\0b"], dtype=object)),
}


def echo_name(datatype: str) -> str:
    return f"echo_{datatype.lower()}"


def _model(nodes: list[onnx.NodeProto], inputs: list, outputs: list, initialisers: list | None = None) -> bytes:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initialisers or [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


_value = helper.make_tensor_value_info
_node = helper.make_node


def _echo(element_type: int) -> bytes:
    """x [rows, 2] handed back as y."""
    return _model(
        [_node("Identity", ["x"], ["y"])],
        [_value("x", element_type, ["rows", 2])],
        [_value("y", element_type, ["rows", 2])],
    )


def _mixed() -> bytes:
    """Two inputs, three outputs: sum = a + float(b), product = a * float(b), next = b + 1."""
    return _model(
        [
            _node("Cast", ["b"], ["b_float"], to=TensorProto.FLOAT),
            _node("Add", ["a", "b_float"], ["sum"]),
            _node("Mul", ["a", "b_float"], ["product"]),
            _node("Add", ["b", "one"], ["next"]),
        ],
        [_value("a", TensorProto.FLOAT, ["rows", 3]), _value("b", TensorProto.INT64, ["rows", 1])],
        [
            _value("sum", TensorProto.FLOAT, ["rows", 3]),
            _value("product", TensorProto.FLOAT, ["rows", 3]),
            _value("next", TensorProto.INT64, ["rows", 1]),
        ],
        [numpy_helper.from_array(np.array([[1]], np.int64), "one")],
    )


def _scalar() -> bytes:
    """A scalar in, a scalar out: y = x + x."""
    return _model(
        [_node("Add", ["x", "x"], ["y"])], [_value("x", TensorProto.FLOAT, [])], [_value("y", TensorProto.FLOAT, [])]
    )


def _fixed() -> bytes:
    """No free dimension: y = -x, [2, 3]."""
    return _model(
        [_node("Neg", ["x"], ["y"])],
        [_value("x", TensorProto.FLOAT, [2, 3])],
        [_value("y", TensorProto.FLOAT, [2, 3])],
    )


def _dynamic() -> bytes:
    """Two free dimensions that must agree between the inputs: y = a @ b."""
    return _model(
        [_node("MatMul", ["a", "b"], ["y"])],
        [_value("a", TensorProto.FLOAT, ["n", "k"]), _value("b", TensorProto.FLOAT, ["k", "m"])],
        [_value("y", TensorProto.FLOAT, ["n", "m"])],
    )


def _stateful() -> bytes:
    """State passed in and out: running sums of x over time, from the state of the last call."""
    return _model(
        [
            _node("CumSum", ["x", "axis"], ["sums"]),
            _node("Add", ["sums", "state"], ["y"]),
            _node("ReduceSum", ["x", "axes"], ["total"], keepdims=1),
            _node("Add", ["total", "state"], ["next_state"]),
        ],
        [_value("x", TensorProto.FLOAT, ["time", 4]), _value("state", TensorProto.FLOAT, [1, 4])],
        [_value("y", TensorProto.FLOAT, ["time", 4]), _value("next_state", TensorProto.FLOAT, [1, 4])],
        [
            numpy_helper.from_array(np.array(0, np.int64), "axis"),
            numpy_helper.from_array(np.array([0], np.int64), "axes"),
        ],
    )


def _centred() -> bytes:
    """Rows that depend on each other although the shape doesn't say so: y = x - mean over rows."""
    return _model(
        [_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1), _node("Sub", ["x", "mean"], ["y"])],
        [_value("x", TensorProto.FLOAT, ["rows", 4])],
        [_value("y", TensorProto.FLOAT, ["rows", 4])],
        [numpy_helper.from_array(np.array([0], np.int64), "axes")],
    )


def _lookup() -> bytes:
    """An embedding of 4 rows: an index out of range is the caller's fault, and only that caller's."""
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    return _model(
        [_node("Gather", ["table", "index"], ["y"], axis=0)],
        [_value("index", TensorProto.INT64, ["rows"])],
        [_value("y", TensorProto.FLOAT, ["rows", 2])],
        [numpy_helper.from_array(table, "table")],
    )


def _slow() -> bytes:
    """Computes as long as it is told to: `turns` products of 128 x 128 matrices."""
    body = helper.make_graph(
        [_node("MatMul", ["value", "identity"], ["next"]), _node("Identity", ["going"], ["still_going"])],
        "body",
        [
            _value("turn", TensorProto.INT64, []),
            _value("going", TensorProto.BOOL, []),
            _value("value", TensorProto.FLOAT, [128, 128]),
        ],
        [_value("still_going", TensorProto.BOOL, []), _value("next", TensorProto.FLOAT, [128, 128])],
    )
    identity = numpy_helper.from_array(np.eye(128, dtype=np.float32), "identity")
    return _model(
        [
            _node("Loop", ["turns", "", "identity"], ["last"], body=body),
            _node("ReduceSum", ["last"], ["y"], keepdims=0),
        ],
        [_value("turns", TensorProto.INT64, [])],
        [_value("y", TensorProto.FLOAT, [])],
        [identity],
    )


def _iris() -> bytes:
    """A scikit-learn classifier, exported as skl2onnx does by default: a label and a ZipMap."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    features, labels = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(features, labels)
    exported: onnx.ModelProto = to_onnx(model, features[:1].astype(np.float32))
    return exported.SerializeToString(deterministic=True)


BUILDERS = {
    "mlp": mlp_model,
    "mixed": _mixed,
    "scalar": _scalar,
    "fixed": _fixed,
    "dynamic": _dynamic,
    "stateful": _stateful,
    "centred": _centred,
    "lookup": _lookup,
    "slow": _slow,
    "iris": _iris,
}


def write_models(folder: Path) -> dict[str, Path]:
    """Every model as a file, by the name it is served under."""
    every = {name: builder() for name, builder in BUILDERS.items()}
    every |= {echo_name(datatype): _echo(element_type) for datatype, (element_type, _) in DATATYPES.items()}
    paths = {}
    for name, model_bytes in every.items():
        paths[name] = folder / f"{name}.onnx"
        paths[name].write_bytes(model_bytes)
    return paths


@functools.cache
def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def bare(path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime says to these inputs, with nothing of ours in between."""
    session = _session(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))
