"""An ONNX file read for serving: tensors in, tensors out, or a refusal by name.

Used when a bundle is made, when one is verified, and by a server that is given a bare ONNX file.
Always: the returned `model_bytes` are what a session is built from; they are the bytes given, unless a note says what
was changed, and the change depends on those bytes alone, so that the same file always yields the same digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, TensorProto, TypeProto, ValueInfoProto

from registry_client.errors import UnservableModel
from registry_client.graph_walk import walk_nodes, walk_tensors
from registry_client.tensors import FREE_DIMENSION, Datatype, Signature, TensorSpec
from registry_client.weights import without_weights
from registry_client.zipmap import ClassLabels, free_label_rows, labels_of_classifier, remove_zipmaps

MODEL_BYTES_MAX = 2**31 - 1
"""Protobuf's own limit for one message: what is larger had its weights put into external data."""

DATATYPES_BY_ONNX_TYPE: dict[int, Datatype] = {
    TensorProto.BOOL: Datatype.BOOL,
    TensorProto.UINT8: Datatype.UINT8,
    TensorProto.UINT16: Datatype.UINT16,
    TensorProto.UINT32: Datatype.UINT32,
    TensorProto.UINT64: Datatype.UINT64,
    TensorProto.INT8: Datatype.INT8,
    TensorProto.INT16: Datatype.INT16,
    TensorProto.INT32: Datatype.INT32,
    TensorProto.INT64: Datatype.INT64,
    TensorProto.FLOAT16: Datatype.FP16,
    TensorProto.FLOAT: Datatype.FP32,
    TensorProto.DOUBLE: Datatype.FP64,
    TensorProto.BFLOAT16: Datatype.BF16,
    TensorProto.STRING: Datatype.BYTES,
}

# What ONNX Runtime's own build registers. com.microsoft.extensions is not among them: it needs a library loaded.
BUILT_IN_DOMAINS = frozenset({
    "", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental",
})  # fmt: skip

_TELLTALE_STARTS = (
    (b"PK\x03\x04", "a zip archive (perhaps a PyTorch file)", "Export the model with torch.onnx.export."),
    (b"\x80", "a Python pickle", "Convert the model with skl2onnx or onnxmltools; pickles are never loaded."),
    (b"version https://git-lfs", "a Git LFS pointer", "Fetch the file itself: git lfs pull."),
)


@dataclass(frozen=True)
class OnnxModel:
    """notes: one sentence for each thing that was changed, or that the file leaves unsaid; for the log."""

    model_bytes: bytes
    signature: Signature
    class_labels: ClassLabels | None
    notes: tuple[str, ...]


def read_onnx(data: bytes, *, bytes_max: int = MODEL_BYTES_MAX) -> OnnxModel:
    """What the file takes and gives, with an sklearn ZipMap turned into a tensor. Raises UnservableModel."""
    if len(data) > bytes_max:
        raise UnservableModel(
            "model file", expected=f"at most {bytes_max} bytes", got=f"{len(data)}", hint="Prune or quantise the model."
        )
    model = _parse(data)
    _refuse_external_data(model)
    _refuse_custom_operators(model)

    labels, notes = _corrected(model)
    signature, unsaid = _read_signature(model)
    model_bytes = _corrected_bytes(data) if notes else data
    if len(model_bytes) > bytes_max:
        raise UnservableModel(
            "model file after its ZipMap was replaced",
            expected=f"at most {bytes_max} bytes",
            got=f"{len(model_bytes)}",
            hint="Prune or quantise the model.",
        )
    return OnnxModel(model_bytes, signature, labels or labels_of_classifier(model), tuple(notes + unsaid))


def _corrected(model: ModelProto) -> tuple[ClassLabels | None, list[str]]:
    labels, notes = remove_zipmaps(model)
    return labels, notes + free_label_rows(model)


def _corrected_bytes(data: bytes) -> bytes:
    """Of the whole model: what is looked at has no weights."""
    model = ModelProto()
    model.ParseFromString(data)
    _corrected(model)
    return model.SerializeToString(deterministic=True)


def _parse(data: bytes) -> ModelProto:
    """The model, without its weights."""
    for start, what, hint in _TELLTALE_STARTS:
        if data.startswith(start):
            raise UnservableModel("model file", expected="an ONNX file", got=what, hint=hint)
    model = ModelProto()
    try:
        model.ParseFromString(without_weights(data))
    except DecodeError as error:
        raise UnservableModel(
            "model file", expected="an ONNX file", got=f"{len(data)} bytes that do not parse", hint=_WHOLE_HINT
        ) from error
    # Any bytes with the right tags parse as protobuf, and so does a file cut between two fields: ask for what every
    # model has.
    missing = [
        what
        for what, there in (
            ("ir_version", model.ir_version > 0),
            ("opset_import", bool(model.opset_import)),
            ("graph", model.HasField("graph")),
            ("graph inputs", bool(model.graph.input)),
            ("graph outputs", bool(model.graph.output)),
        )
        if not there
    ]
    if missing:
        got = f"{len(data)} bytes without {', '.join(missing)}"
        raise UnservableModel("model file", expected="an ONNX model", got=got, hint=_WHOLE_HINT)
    return model


_WHOLE_HINT = "The file is truncated or is something else: copy it again and compare its size, or export it anew."


def _refuse_external_data(model: ModelProto) -> None:
    for tensor in walk_tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            raise UnservableModel(
                f"tensor {tensor.name!r}",
                expected="its data inside the ONNX file",
                got="external data",
                hint="Save it whole: onnx.save(onnx.load(path), out, save_as_external_data=False).",
            )


def _refuse_custom_operators(model: ModelProto) -> None:
    local_functions = {(function.domain, function.name) for function in model.functions}
    for node in walk_nodes(model):
        if node.domain in BUILT_IN_DOMAINS or (node.domain, node.op_type) in local_functions:
            continue
        raise UnservableModel(
            f"node {node.name or node.op_type!r}",
            expected="operators of " + ", ".join(sorted(BUILT_IN_DOMAINS - {""})),
            got=f"{node.op_type} of domain {node.domain!r}",
            hint="Custom operators are not loaded: export the model with standard ones.",
        )


def _read_signature(model: ModelProto) -> tuple[Signature, list[str]]:
    graph = model.graph
    # Before IR 4 every initialiser had to be listed as an input too; such an input is a default, not a question.
    initialised = {tensor.name for tensor in graph.initializer} | {
        sparse.values.name for sparse in graph.sparse_initializer
    }
    asked = [value for value in graph.input if value.name not in initialised]
    if not asked:
        raise UnservableModel(
            "graph inputs", expected="at least one", got="only initialisers", hint="Export the model with an input."
        )
    inputs = tuple(_input_spec(value) for value in asked)
    inferred = _inferred_outputs(model)
    outputs, unsaid = [], []
    for value in graph.output:
        spec, note = _output_spec(value, inferred.get(value.name))
        outputs.append(spec)
        unsaid += note
    _refuse_twice("input", inputs)
    _refuse_twice("output", outputs)
    return Signature(inputs, tuple(outputs)), unsaid


def _refuse_twice(what: str, specs: Iterable[TensorSpec]) -> None:
    seen: set[str] = set()
    for spec in specs:
        if not spec.name or spec.name in seen:
            raise UnservableModel(
                f"{what} {spec.name!r}", expected="names that differ", got="it twice or empty", hint="Rename it."
            )
        seen.add(spec.name)


def _input_spec(value: ValueInfoProto) -> TensorSpec:
    datatype = _datatype("input", value)
    if not value.type.tensor_type.HasField("shape"):
        raise UnservableModel(
            f"input {value.name!r}",
            expected="a number of dimensions",
            got="a tensor of unknown rank",
            hint="Declare its shape at export; a dimension may stay free by a symbolic name.",
        )
    return TensorSpec(value.name, datatype, _shape(value.type))


def _output_spec(value: ValueInfoProto, inferred: tuple[int, ...] | None) -> tuple[TensorSpec, list[str]]:
    """The output as declared, its free dimensions narrowed by what shape inference finds."""
    datatype = _datatype("output", value)
    if not value.type.tensor_type.HasField("shape"):
        if inferred is not None:
            return TensorSpec(value.name, datatype, inferred), []
        note = f"output {value.name!r} has no declared shape: its metadata says [-1], replies carry the true one"
        return TensorSpec(value.name, datatype, (FREE_DIMENSION,)), [note]
    declared = _shape(value.type)
    if inferred is not None and len(inferred) == len(declared):
        declared = tuple(
            there if here == FREE_DIMENSION else here for here, there in zip(declared, inferred, strict=True)
        )
    return TensorSpec(value.name, datatype, declared), []


def _inferred_outputs(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Output shapes as far as the operators tell. Only asked where a declared one leaves something open."""
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output) and not any(
        FREE_DIMENSION in _shape(value.type)[1:] for value in model.graph.output
    ):
        return {}
    try:
        inferred: GraphProto = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        # Inference is a courtesy: what it cannot tell stays free, and ONNX Runtime has the last word at load.
        return {}
    return {value.name: _shape(value.type) for value in inferred.output if value.type.tensor_type.HasField("shape")}


def _datatype(what: str, value: ValueInfoProto) -> Datatype:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        got = {"sequence_type": "a sequence", "map_type": "a map", "optional_type": "an optional"}.get(
            kind or "", "a sparse tensor" if kind == "sparse_tensor_type" else "a value without a type"
        )
        raise UnservableModel(
            f"{what} {value.name!r}",
            expected="a tensor",
            got=got,
            hint="Export it as tensors (for scikit-learn: options={'zipmap': False}) or cut the graph before it.",
        )
    element_type = value.type.tensor_type.elem_type
    if element_type not in DATATYPES_BY_ONNX_TYPE:
        known = element_type in TensorProto.DataType.values()
        raise UnservableModel(
            f"{what} {value.name!r}",
            expected="elements of " + ", ".join(datatype.name for datatype in Datatype),
            got=TensorProto.DataType.Name(element_type) if known else f"element type {element_type}",
            hint="Cast it in the graph before export.",
        )
    return DATATYPES_BY_ONNX_TYPE[element_type]


def _shape(type_proto: TypeProto) -> tuple[int, ...]:
    dims = type_proto.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else FREE_DIMENSION for dim in dims)
