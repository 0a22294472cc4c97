"""What sklearn's converters put at the end of a classifier, put right: ZipMaps, class labels, label shapes.

Used by `onnx_model.py` alone; changes the parsed model in place and says what it did.
Always: names of outputs stay, values stay; what was a sequence of maps becomes the float tensor it was made from.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto, helper

from registry_client.errors import UnservableModel
from registry_client.tensors import FREE_DIMENSION

ClassLabels = tuple[str | int, ...]

_ML_DOMAIN = "ai.onnx.ml"
_CLASSIFIERS = frozenset({"LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"})
_KEEP_VALUES = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_LABEL_ATTRIBUTES = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")
_IDENTITY_OPSET = 13  # for a file that imports only ai.onnx.ml; Identity means the same in every opset


def remove_zipmaps(model: ModelProto) -> tuple[ClassLabels | None, list[str]]:
    """Replace each ZipMap at an output by Identity; its tensor [rows, classes] then bears the output's name.

    An Identity rather than a renaming, since the tensor may have other readers, or be an output itself. ONNX Runtime
    drops it. Returns the class labels (of the first, where there are several) and a note for each.
    """
    outputs = {value.name: value for value in model.graph.output}
    labels: ClassLabels | None = None
    notes: list[str] = []
    for node in model.graph.node:
        if node.op_type != "ZipMap" or node.domain != _ML_DOMAIN or node.output[0] not in outputs:
            continue
        name = node.output[0]
        readers = [other for other in model.graph.node if name in other.input]
        if readers:
            raise UnservableModel(
                f"output {name!r}",
                expected="a ZipMap at the very end of the graph",
                got=f"one that {readers[0].op_type} reads",
                hint="Convert the model with options={'zipmap': False}.",
            )
        its_labels = _labels(node)
        if its_labels is None:
            raise UnservableModel(
                f"output {name!r}", expected="a ZipMap with class labels", got="none", hint="Convert the model anew."
            )
        labels = labels or its_labels
        node.CopyFrom(helper.make_node("Identity", [node.input[0]], [name], name=node.name))
        shape = [None, len(its_labels)]
        outputs[name].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        notes.append(f"output {name!r}: ZipMap replaced by its tensor [rows, {len(its_labels)}]")
    if notes and not any(opset.domain in ("", "ai.onnx") for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", _IDENTITY_OPSET))
    return labels, notes


def labels_of_classifier(model: ModelProto) -> ClassLabels | None:
    """Labels of the one classifier in the graph; None where there is none, or more than one (an ensemble, a chain).

    None too where its labels reach no output, as in scikit-learn's stacking, which numbers classes from 0 inside and
    translates the numbers at the end: they are not what the model answers.
    """
    classifiers = [node for node in model.graph.node if node.domain == _ML_DOMAIN and node.op_type in _CLASSIFIERS]
    if len(classifiers) != 1:
        return None
    names = {classifiers[0].output[0]}
    for node in model.graph.node:  # in the order in which they are computed
        if node.domain in ("", "ai.onnx") and node.op_type in _KEEP_VALUES and node.input[0] in names:
            names.update(node.output)
    return None if names.isdisjoint(value.name for value in model.graph.output) else _labels(classifiers[0])


def free_label_rows(model: ModelProto) -> list[str]:
    """Correct a label output declared as one row where the classifier gives one label for each row.

    onnxmltools declares LightGBM's label as [1] whatever the number of rows: clients would be told a wrong shape, and
    ONNX Runtime would warn on each batch.
    """
    if not any(_first_dimension_is_free(value.type.tensor_type) for value in model.graph.input):
        return []
    made_by = {output: node for node in model.graph.node for output in node.output}
    notes = []
    for value in model.graph.output:
        tensor = value.type.tensor_type
        dims = tensor.shape.dim
        if not (len(dims) == 1 and dims[0].HasField("dim_value") and _is_label(value.name, made_by)):
            continue
        notes.append(f"output {value.name!r}: declared with {dims[0].dim_value} row, gives one label for each row")
        value.CopyFrom(helper.make_tensor_value_info(value.name, tensor.elem_type, [None]))
    return notes


def _is_label(name: str, made_by: dict[str, NodeProto]) -> bool:
    node = made_by.get(name)
    while node is not None and node.domain in ("", "ai.onnx") and node.op_type in ("Cast", "Identity"):
        name = node.input[0]
        node = made_by.get(name)
    return node is not None and node.domain == _ML_DOMAIN and node.op_type in _CLASSIFIERS and node.output[0] == name


def _first_dimension_is_free(tensor: object) -> bool:
    dims = tensor.shape.dim  # type: ignore[attr-defined]
    return bool(dims) and (not dims[0].HasField("dim_value") or dims[0].dim_value == FREE_DIMENSION)


def _labels(node: NodeProto) -> ClassLabels | None:
    for attribute in node.attribute:
        if attribute.name not in _LABEL_ATTRIBUTES:
            continue
        if attribute.ints:
            return tuple(int(label) for label in attribute.ints)
        if attribute.strings:
            return tuple(label.decode("utf-8") for label in attribute.strings)
    return None
