"""Every node and every tensor of an ONNX model, however deep: subgraphs, functions, attributes.

Used by `onnx_model.py` to refuse what cannot be served. Always: a tensor or node that ONNX Runtime would read is
yielded, wherever the file hides it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto


def walk_graphs(model: ModelProto) -> Iterator[GraphProto]:
    """The main graph and all subgraphs, those inside functions too."""
    pending = [model.graph]
    pending += [graph for function in model.functions for graph in _subgraphs(function.node)]
    while pending:
        graph = pending.pop()
        yield graph
        pending += _subgraphs(graph.node)


def walk_nodes(model: ModelProto) -> Iterator[NodeProto]:
    for graph in walk_graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def walk_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Initialisers, sparse ones included, and tensors held by attributes."""
    for graph in walk_graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from _parts(sparse)
    for node in walk_nodes(model):
        yield from _attribute_tensors(node.attribute)
    for function in model.functions:
        yield from _attribute_tensors(function.attribute_proto)


def _attribute_tensors(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto]:
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("sparse_tensor"):
            yield from _parts(attribute.sparse_tensor)
        for sparse in attribute.sparse_tensors:
            yield from _parts(sparse)


def _parts(sparse: SparseTensorProto) -> tuple[TensorProto, TensorProto]:
    return sparse.values, sparse.indices


def _subgraphs(nodes: Iterable[NodeProto]) -> list[GraphProto]:
    found = []
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found.append(attribute.g)
            found += attribute.graphs
    return found
