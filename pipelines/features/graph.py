"""Graph: serving's side of the encoding, as nodes of ONNX in front of a learner's own.

The train stage puts both together; what is served takes raw values. Always: standard operators only, the same encoder
and body give the same bytes, and the tensor `encoded` is what `Encoder.encode` gives, bit for bit but for the sign of a
zero. Every node costs half a microsecond of each call, so that all columns go through one node together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnx.version_converter
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from pipelines.examples import NUMBERS, TEXTS
from pipelines.features.declaration import Text
from pipelines.features.matrix import Encoder
from pipelines.features.plan import OneHotPlan, OrdinalPlan, cycle_table, vocabulary
from pipelines.refusal import Refusal

ENCODED: Final = "encoded"
"""The tensor between encoding and learner, float32[rows, width]."""
OWN: Final = "encoder/"
"""How the encoding's other tensors begin."""
ROWS: Final = "rows"

OPSET_MIN: Final = 15
"""onnxmltools declares the oldest that its trees need, whatever it is asked for: 9 knows no Equal of floats."""
ML_DOMAIN: Final = "ai.onnx.ml"
ML_OPSET_MIN: Final = 2
"""From which LabelEncoder takes keys and values."""


class _Nodes:
    """Nodes and their constants, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), OWN + name))
        return OWN + name

    def node(self, operator: str, inputs: Sequence[str], result: str, *, domain: str = "", **attributes: Any) -> str:
        """result: without the prefix, but for ENCODED. Returns the tensor's name."""
        result = result if result == ENCODED else OWN + result
        self.nodes.append(helper.make_node(operator, inputs, [result], name=result, domain=domain, **attributes))
        return result

    def split(self, tensor: str, lengths: str, results: Sequence[str]) -> None:
        """Parts of a tensor's columns."""
        outputs = [OWN + result for result in results]
        self.nodes.append(helper.make_node("Split", [tensor, lengths], outputs, name=f"{tensor}_parts", axis=1))


def with_encoder(encoder: Encoder, body: ModelProto) -> ModelProto:
    """The body, fed with raw values: `features` float32[rows, k] and, where there are texts, `texts` string[rows, m].

    body: one input float32[rows, width]; its outputs stay as they are declared, its operator sets are raised where ours
    need it. Raises Refusal where it has another input, or tensors with names of ours.
    """
    whole = _of_our_operator_sets(body, texts=bool(encoder.features.texts))
    _feed_encoded(whole, encoder.width)
    nodes = _encoding(encoder)
    learner = list(whole.graph.node)
    del whole.graph.node[:], whole.graph.input[:]
    whole.graph.node.extend([*nodes.nodes, *learner])
    whole.graph.initializer.extend(nodes.constants)
    whole.graph.input.append(_value(NUMBERS, TensorProto.FLOAT, len(encoder.features.numbers)))
    if encoder.features.texts:
        whole.graph.input.append(_value(TEXTS, TensorProto.STRING, len(encoder.features.texts)))
    onnx.checker.check_model(whole, full_check=True)
    return whole


def exposing(model: ModelProto, tensor: str) -> ModelProto:
    """The same graph, with `tensor` as a further output. Raises Refusal where it has none of that name."""
    whole = ModelProto()
    whole.CopyFrom(model)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    found = next((value for value in inferred.value_info if value.name == tensor), None)
    if found is None:
        raise Refusal(f"tensor {tensor}", expected="one inside the graph", got="none", hint="Its nodes name them.")
    whole.graph.output.append(found)
    return whole


def _encoding(encoder: Encoder) -> _Nodes:
    nodes = _Nodes()
    raw = NUMBERS
    if encoder.features.texts:
        raw = nodes.node("Concat", [NUMBERS, _places(nodes, encoder.features.texts)], "raw", axis=1)
    match encoder.plan:
        case OrdinalPlan() as plan:
            _ordinal(nodes, plan, raw)
        case OneHotPlan() as plan:
            _one_hot(nodes, plan, raw)
    return nodes


def _places(nodes: _Nodes, texts: Sequence[Text]) -> str:
    """float32[rows, m]: the words' places in their feature's values, NaN where unknown.

    One lookup for all columns, and then each column's own part of one table: a lookup a column would copy every word.
    """
    words = vocabulary(texts)
    table = np.full((len(texts), len(words) + 1), np.nan, dtype=np.float32)
    index_of = {word: index for index, word in enumerate(words)}
    for column, feature in enumerate(texts):
        table[column, [index_of[value] for value in feature.values]] = np.arange(len(feature.values))
    index = nodes.node(
        "LabelEncoder", [TEXTS], "word", domain=ML_DOMAIN,
        keys_strings=list(words), values_int64s=list(range(len(words))), default_int64=len(words),
    )  # fmt: skip
    starts = nodes.constant("word_starts", np.arange(len(texts), dtype=np.int64) * (len(words) + 1))
    slot = nodes.node("Add", [index, starts], "word_slot")
    return nodes.node("Gather", [nodes.constant("places", table.ravel()), slot], "place", axis=0)


def _ordinal(nodes: _Nodes, plan: OrdinalPlan, raw: str) -> None:
    known = _known(nodes, plan, raw)
    if plan.gapped.size:
        known = nodes.node("And", [known, _in_no_gap(nodes, plan, raw)], "known_code")
    nan = nodes.constant("nan", np.array(np.nan, dtype=np.float32))
    nodes.node("Where", [known, raw, nan], ENCODED)


def _known(nodes: _Nodes, plan: OrdinalPlan | OneHotPlan, raw: str) -> str:
    """bool[rows, all]: within bounds, where NaN never is, and a whole number where only such are known."""
    low = nodes.node("GreaterOrEqual", [raw, nodes.constant("low", plan.low)], "from_low")
    high = nodes.node("LessOrEqual", [raw, nodes.constant("high", plan.high)], "to_high")
    within = nodes.node("And", [low, high], "within")
    if not plan.whole.any():
        return within
    # Times 0 what may have a fraction. Where with a mask a column would take thrice as long.
    whole = nodes.node("Mul", [raw, nodes.constant("whole", plan.whole.astype(np.float32))], "whole_part")
    equal = nodes.node("Equal", [whole, nodes.node("Floor", [whole], "floor")], "no_fraction")
    return nodes.node("And", [within, equal], "known")


def _in_no_gap(nodes: _Nodes, plan: OrdinalPlan, raw: str) -> str:
    """bool[rows, all]: whether a column with gaps has one of its codes; true for all others.

    At most one code equals a value, so that the product of ones and zeros is exact in whatever order it is summed.
    """
    places = (plan.gapped[:, None] == np.arange(len(plan.low))).astype(np.float32)
    others = (~places.any(axis=0)).astype(np.float32)
    values = nodes.node("Gather", [raw, nodes.constant("gapped", plan.gapped)], "gapped_value", axis=1)
    equal = nodes.node("Equal", [values, nodes.constant("gapped_code", plan.gapped_codes)], "gapped_equal")
    hits = nodes.node("Cast", [equal], "gapped_hit", to=TensorProto.FLOAT)
    inputs = [hits, nodes.constant("gapped_place", places), nodes.constant("gapless", others)]
    found = nodes.node("Gemm", inputs, "code_found")
    return nodes.node("Cast", [found], "in_no_gap", to=TensorProto.BOOL)


def _one_hot(nodes: _Nodes, plan: OneHotPlan, raw: str) -> None:
    """Each block is a part of one product, in which a column meets its scale and otherwise zeros.

    That is exact in whatever order it is summed, since all is finite by then, and quicker than to gather columns:
    7 us instead of 100 for 256 rows of 139.
    """
    known = _known(nodes, plan, raw)
    centred = nodes.node("Sub", [raw, nodes.constant("origin", plan.origin)], "centred")
    zero = nodes.constant("zero", np.array(0, dtype=np.float32))
    filled = nodes.node("Where", [known, centred, zero], "filled")
    scaled, steps, chosen = _spread(nodes, plan, filled)
    blocks = [scaled] if plan.numbers.size else []
    if plan.missing.size:
        there = nodes.node("Gather", [known, nodes.constant("missing", plan.missing)], "there", axis=1)
        absent = nodes.node("Not", [there], "absent")
        blocks.append(nodes.node("Cast", [absent], "indicators", to=TensorProto.FLOAT))
    if plan.cycles.size:
        row = nodes.node("Cast", [steps], "cycle_row", to=TensorProto.INT64)
        waves = nodes.node("Gather", [nodes.constant("cycle_table", cycle_table()), row], "wave", axis=0)
        blocks.append(nodes.node("Flatten", [waves], "waves", axis=1))
    if plan.owners.size:
        equal = nodes.node("Equal", [chosen, nodes.constant("codes", plan.codes)], "equal")
        blocks.append(nodes.node("Cast", [equal], "choices", to=TensorProto.FLOAT))
    nodes.node("Concat", blocks, ENCODED, axis=1)


def _spread(nodes: _Nodes, plan: OneHotPlan, filled: str) -> tuple[str, str, str]:
    """(scaled numbers, cycles' steps, codes and words once for each of their columns); "" where there are none."""
    owners = np.concatenate([plan.numbers, plan.cycles, plan.owners])
    factors = np.zeros((len(plan.low), len(owners)), dtype=np.float32)
    factors[owners, np.arange(len(owners))] = np.concatenate([plan.scale, plan.steps, np.ones_like(plan.codes)])
    spread = nodes.node("MatMul", [filled, nodes.constant("factors", factors)], "spread")
    sizes = {"scaled": len(plan.numbers), "steps": len(plan.cycles), "chosen": len(plan.owners)}
    there = [name for name, size in sizes.items() if size]
    lengths = nodes.constant("sizes", np.array([sizes[name] for name in there], dtype=np.int64))
    nodes.split(spread, lengths, there)
    scaled, steps, chosen = (OWN + name if sizes[name] else "" for name in sizes)
    return scaled, steps, chosen


def _feed_encoded(model: ModelProto, width: int) -> None:
    """Renames the body's one input to ENCODED. Raises Refusal."""
    graph = model.graph
    initialised = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initialised]
    if [(value.type.tensor_type.elem_type, _columns_of(value)) for value in inputs] != [(TensorProto.FLOAT, width)]:
        got = ", ".join(f"{value.name} of {_columns_of(value)} columns" for value in inputs)
        raise _unfit(f"one input float32[rows, {width}]", got or "none")
    renamed = inputs[0].name
    taken = {name for node in graph.node for name in (*node.input, *node.output)} - {renamed} | initialised
    ours = sorted(name for name in taken if name in (NUMBERS, TEXTS, ENCODED) or name.startswith(OWN))
    nested = [node.op_type for node in graph.node if any(attribute.HasField("g") for attribute in node.attribute)]
    if ours or nested:
        expected = f"no tensor {NUMBERS}, {TEXTS}, {ENCODED} or {OWN}*, no graph in a node"
        raise _unfit(expected, ", ".join((ours or nested)[:3]))
    for node in graph.node:
        node.input[:] = [ENCODED if name == renamed else name for name in node.input]
    kept = [value for value in graph.value_info if value.name != renamed]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _of_our_operator_sets(body: ModelProto, *, texts: bool) -> ModelProto:
    """A copy of the body, its operator sets sorted and recent enough."""
    versions = {"" if one.domain == "ai.onnx" else one.domain: one.version for one in body.opset_import}
    whole = ModelProto()
    if versions.get("", 0) < OPSET_MIN:
        whole.CopyFrom(onnx.version_converter.convert_version(body, OPSET_MIN))
        versions[""] = OPSET_MIN
    else:
        whole.CopyFrom(body)
    if texts and versions.get(ML_DOMAIN, 0) < ML_OPSET_MIN:
        if any(node.op_type == "LabelEncoder" for node in body.graph.node):
            raise _unfit("no LabelEncoder of the first kind", f"{ML_DOMAIN} {versions[ML_DOMAIN]}")
        versions[ML_DOMAIN] = ML_OPSET_MIN
    del whole.opset_import[:]
    whole.opset_import.extend(helper.make_opsetid(domain, versions[domain]) for domain in sorted(versions))
    whole.ir_version = max(whole.ir_version, helper.find_min_ir_version_for(whole.opset_import, ignore_unknown=True))
    return whole


def _columns_of(value: ValueInfoProto) -> int | None:
    dimensions = value.type.tensor_type.shape.dim
    return int(dimensions[1].dim_value) if len(dimensions) == 2 else None


def _value(name: str, element_type: int, width: int) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, [ROWS, width])


def _unfit(expected: str, got: str) -> Refusal:
    return Refusal("learner's graph", expected=expected, got=got, hint="See pipelines/training/conversion.py.")
