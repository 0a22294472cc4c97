"""The graph of a lineage: data loads, tables, examples, code and parameters, model, bundle, versions, where it served.

Used by `as_html.py`. Pure. Two drawings of one graph: `across`, in columns from left to right, for wide screens, and
`down`, in one column with arcs beside it, for phones. Always: every edge leads to a node of a later column, or within
the column of versions to the one below; every node has its whole text as a title, shortened only where it is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from registry_client.lineage.document import Data, Named, Table, VersionLineage
from registry_client.lineage.shown import counted, short, shown
from registry_client.lineage.words import (
    NOT_RECORDED,
    ROWS_UNKNOWN,
    commit_words,
    leaf,
    named_words,
    sample_words,
    stay_words,
    table_words,
    time_words,
)
from registry_client.manifest import MODEL_FILE

Kind = Literal["data", "recipe", "artifact", "judged", "service"]
KINDS: Final[dict[Kind, str]] = {
    "data": "data: loads, tables, examples",
    "recipe": "code and parameters",
    "artifact": "model, bundle, versions",
    "judged": "gates and comparison",
    "service": "where it served",
}
Line = Literal["made", "parent"]
LINES: Final[dict[Line, str]] = {"made": "made from, or put into", "parent": "was stable when the next was registered"}

LOADS_SHOWN, TABLES_SHOWN = 8, 6
"""Of all tables together about so many loads, the first and the last of each; the others are one node."""
STAYS_SHOWN: Final = 6
COLUMNS: Final = 7
LOADS, TABLES, EXAMPLES, MODEL, BUNDLE, VERSIONS, SERVED = range(COLUMNS)

# Pixels, of a drawing as wide as the page's column; characters are those of the page's sans-serif at 12.
BOX_WIDTH, BOX_HEIGHT = 148, 54
COLUMN_GAP, ROW_GAP, VERSIONS_GAP = 34, 14, 34
TEXT_CHARACTERS: Final = 20
TITLE_CHARACTERS: Final = 600
DOWN_WIDTH, DOWN_BOX_WIDTH, DOWN_TEXT_CHARACTERS = 350, 262, 38
ARC_MIN, ARC_MAX = 18, 78
MARGIN: Final = 6


@dataclass(frozen=True)
class Node:
    """what, name, text: its three lines. title: all of it, digests whole. target: where on the page more is told."""

    id: str
    column: int
    kind: Kind
    what: str
    name: str
    text: str
    title: str
    target: str
    this: bool = False
    absent: bool = False


@dataclass(frozen=True)
class Edge:
    start: str
    end: str
    line: Line = "made"


@dataclass(frozen=True)
class Graph:
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def sources(self, node: Node) -> tuple[Node, ...]:
        """Those that lead to it."""
        starts = {edge.start for edge in self.edges if edge.end == node.id}
        return tuple(one for one in self.nodes if one.id in starts)


@dataclass(frozen=True)
class Box:
    """A node and its place. what, name, text: as long as there is room for."""

    node: Node
    x: float
    y: float
    width: float
    what: str
    name: str
    text: str

    @property
    def middle(self) -> float:
        return self.y + BOX_HEIGHT / 2


@dataclass(frozen=True)
class Path:
    """path: SVG's `d`."""

    path: str
    line: Line


@dataclass(frozen=True)
class Drawing:
    width: float
    height: float
    boxes: tuple[Box, ...]
    paths: tuple[Path, ...]


def graph(lineage: VersionLineage) -> Graph:
    """Nodes in the order of columns, and in each from top to bottom."""
    nodes = [
        *_data_nodes(lineage.origin.data),
        *_recipe_nodes(lineage),
        *_sample_nodes(lineage.origin.data),
        *_model_nodes(lineage),
        *_version_nodes(lineage),
        *_served_nodes(lineage),
    ]
    nodes.sort(key=lambda node: node.column)  # stable: the order within a column stays
    return Graph(tuple(nodes), tuple(_edges(nodes, lineage)))


def across(graph: Graph) -> Drawing:
    """Columns from left to right, each centred; those without a node take no room."""
    columns = [[node for node in graph.nodes if node.column == column] for column in range(COLUMNS)]
    columns = [column for column in columns if column]
    height = max(_height(len(column), _gap(column)) for column in columns) + 2 * MARGIN
    boxes = []
    for place, column in enumerate(columns):
        x, y = MARGIN + place * (BOX_WIDTH + COLUMN_GAP), (height - _height(len(column), _gap(column))) / 2
        for row, node in enumerate(column):
            boxes.append(_box(node, x, y + row * (BOX_HEIGHT + _gap(column)), BOX_WIDTH, TEXT_CHARACTERS))
    width = len(columns) * (BOX_WIDTH + COLUMN_GAP) - COLUMN_GAP + 2 * MARGIN
    return Drawing(width, height, tuple(boxes), tuple(_curves(graph, boxes)))


def down(graph: Graph) -> Drawing:
    """One node below the other, and arcs on their left: the farther apart, the wider."""
    left = DOWN_WIDTH - DOWN_BOX_WIDTH - MARGIN
    boxes = [
        _box(node, left, MARGIN + row * (BOX_HEIGHT + ROW_GAP), DOWN_BOX_WIDTH, DOWN_TEXT_CHARACTERS)
        for row, node in enumerate(graph.nodes)
    ]
    return Drawing(DOWN_WIDTH, _height(len(boxes)) + 2 * MARGIN, tuple(boxes), tuple(_arcs(graph, boxes)))


def _data_nodes(data: Data) -> Iterator[Node]:
    for index, table in enumerate(data.tables[:TABLES_SHOWN]):
        name = shown(table.name)
        title = f"Table {name}, {table_words(table)}, whole digest {table.digest or NOT_RECORDED}"
        what = "table" if table.version is None else f"table, version {table.version}"
        yield Node(f"table {index}", TABLES, "data", what, name, short(table.digest), title, "data")
        yield from _load_nodes(index, table, max(2, LOADS_SHOWN // len(data.tables)))
    if hidden := data.tables[TABLES_SHOWN:]:
        names = shown("More tables: " + ", ".join(table.name for table in hidden), TITLE_CHARACTERS)
        yield Node(f"table {TABLES_SHOWN}", TABLES, "data", "tables", f"{len(hidden)} more", "", names, "data")
    if not data.tables and (data.source or data.other):
        leaves = {**data.source, **data.other}
        title = "Data: " + "; ".join(f"{shown(name)} {shown(value)}" for name, value in leaves.items())
        first = " ".join(leaf(leaves[key]) for key in ("package", "version") if key in leaves) or "as recorded"
        facts = counted(len(leaves), "fact")
        yield Node("source", TABLES, "data", "source", first, facts, shown(title, TITLE_CHARACTERS), "data")


def _load_nodes(index: int, table: Table, most: int) -> Iterator[Node]:
    """Of more than `most`, the first and the last; those between are one node."""
    name, first = shown(table.name), (most + 1) // 2
    hidden = table.loads[first : len(table.loads) - (most - first)] if len(table.loads) > most + 1 else ()
    for place, load in enumerate(table.loads):
        node_id = f"load {index} {place}"
        if hidden and first <= place < first + len(hidden):
            if place == first:
                between = f"{shown(hidden[0].name, 40)} to {shown(hidden[-1].name, 40)}"
                title = f"{len(hidden)} more loads of table {name}: {between}"
                yield Node(node_id, LOADS, "data", "loads", f"{name}: {len(hidden)} more", between, title, "data")
            continue
        rows = ROWS_UNKNOWN if load.rows is None else counted(load.rows, "row")
        title = f"Load {shown(load.name)} of table {name}, {rows}, digest {load.digest or NOT_RECORDED}"
        loaded = f"{name} {shown(load.name)}"
        yield Node(node_id, LOADS, "data", f"load, {rows}", loaded, short(load.digest), title, "data")


def _recipe_nodes(lineage: VersionLineage) -> Iterator[Node]:
    parameters, code = lineage.origin.parameters, lineage.origin.code
    values = "; ".join(f"{shown(name)} {leaf(value)}" for name, value in parameters.items())
    count = counted(len(parameters), "value") if parameters else NOT_RECORDED
    title = shown(f"Parameters: {values or NOT_RECORDED}", TITLE_CHARACTERS)
    yield Node("parameters", EXAMPLES, "recipe", "parameters", count, values, title, "parameters")
    provenance = lineage.beside.provenance
    commit = None if provenance is None else provenance.commit
    committed, text = NOT_RECORDED, "no commit recorded"
    if commit is not None:
        committed, text = commit_words(commit), f"commit {shown(commit.id)[:7]}{', dirty' if commit.dirty else ''}"
    title = f"Code, digest {code.sha256 or NOT_RECORDED}, commit {committed}"
    yield Node("code", EXAMPLES, "recipe", "code", short(code.sha256), text, title, "code")


def _sample_nodes(data: Data) -> Iterator[Node]:
    for sample in data.samples:
        rows = ROWS_UNKNOWN if sample.rows is None else counted(sample.rows, "row")
        title = f"Examples for {sample.name}, {sample_words(sample)}, whole digest {sample.digest or NOT_RECORDED}"
        yield Node(f"examples {sample.name}", EXAMPLES, "data", f"examples: {sample.name}", rows, short(sample.digest),
                   title, "data")  # fmt: skip


def _model_nodes(lineage: VersionLineage) -> Iterator[Node]:
    files = lineage.origin.manifest.files
    model = files[MODEL_FILE]
    size = counted(model.size_bytes, "byte")
    title = f"{MODEL_FILE}, {size}, sha256 {model.sha256}"
    yield Node("model", MODEL, "artifact", "model", short(model.sha256), size, title, "files")
    yield _gates_node(lineage)
    digest = lineage.origin.digest
    title = f"Bundle of {counted(len(files), 'file')}, digest {digest}"
    yield Node("bundle", BUNDLE, "artifact", "bundle", short(digest), counted(len(files), "file"), title, "files")


def _gates_node(lineage: VersionLineage) -> Node:
    gates = lineage.origin.gates
    if gates is None:
        why = f"Gates: {lineage.why_missing('gates') or NOT_RECORDED}"
        return Node("gates", MODEL, "judged", "evaluation", "no gates recorded", "", why, "gates", absent=True)
    text = f"{sum(gate.passed is True for gate in gates)} of {len(gates)} passed"
    title = shown(f"Gates, {text}: {', '.join(gate.name for gate in gates)}", TITLE_CHARACTERS)
    return Node("gates", MODEL, "judged", "evaluation", counted(len(gates), "gate"), text, title, "gates")


def _version_nodes(lineage: VersionLineage) -> Iterator[Node]:
    """The parent above, the children below."""
    if lineage.parent is not None:
        yield _relative("parent", "parent", lineage.parent)
    if lineage.version is not None:
        aliases = " ".join(f"@{alias}" for alias in lineage.aliases) or "no alias"
        title = f"{lineage.title}, {aliases}, digest {lineage.origin.digest}"
        yield Node("version", VERSIONS, "artifact", "this version", f"version {lineage.version}", aliases, title, "top",
                   this=True)  # fmt: skip
    children = lineage.children or ()
    if len(children) == 1:
        yield _relative("children", "child", children[0])
    elif children:
        title = "Children: " + "; ".join(f"{named_words(child)}, digest {child.digest}" for child in children)
        numbers = "versions " + ", ".join(str(child.version) for child in children)
        yield Node("children", VERSIONS, "artifact", f"{len(children)} children", numbers, "it was stable before them",
                   title, "parent")  # fmt: skip


def _relative(node_id: str, what: str, named: Named) -> Node:
    aliases = "".join(f" @{alias}" for alias in named.aliases)
    name = "not in this registry" if named.version is None else f"version {named.version}{aliases}"
    title = f"The {what}, {named_words(named)}, digest {named.digest}"
    return Node(node_id, VERSIONS, "artifact", what, name, short(named.digest), title, "parent")


def _served_nodes(lineage: VersionLineage) -> Iterator[Node]:
    served = lineage.served
    if served is None or not served.stays:
        why = lineage.why_missing("served") if served is None else "the journal has no time at which it served"
        name = "no journal asked" if served is None else "never served"
        yield Node("served", SERVED, "service", "served", name, "", shown(why), "served", absent=True)
        return
    hidden = len(served.stays) - STAYS_SHOWN
    if hidden > 0:
        yield Node("served before", SERVED, "service", "served", f"{hidden} times before", "",
                   f"{hidden} times before those that are drawn", "served")  # fmt: skip
    for index, stay in enumerate(served.stays[-STAYS_SHOWN:]):
        title = f"Served as {stay.place} {stay_words(stay)}"
        until = "no end recorded" if stay.until_utc is None else f"to {_minute(stay.until_utc)}"
        yield Node(f"served {index}", SERVED, "service", f"{stay.place} from", _minute(stay.since_utc), until, title,
                   "served")  # fmt: skip


def _minute(at_utc: str) -> str:
    return time_words(at_utc)[:16]


def _edges(nodes: Iterable[Node], lineage: VersionLineage) -> Iterator[Edge]:
    ids = [node.id for node in nodes]
    examples = [one for one in ids if one.startswith("examples ")]
    for table in (one for one in ids if one == "source" or one.startswith("table ")):
        loads = f"{table.replace('table', 'load')} "
        yield from (Edge(load, table) for load in ids if load.startswith(loads))
        yield from (Edge(table, sample) for sample in examples or ["model"])
    yield from (Edge(one, "model") for one in ("parameters", "code"))
    yield from (Edge(one, "model" if one == "examples training" else "gates") for one in examples)
    yield from (Edge(one, "bundle") for one in ("model", "gates"))
    last = "version" if "version" in ids else "bundle"
    if last == "version":
        yield Edge("bundle", "version")
    yield from (Edge(last, one) for one in ids if one.startswith("served"))
    family = [one for one in ("parent", "version", "children") if one in ids]
    yield from (Edge(one, other, "parent") for one, other in pairwise(family))


def _curves(graph: Graph, boxes: Iterable[Box]) -> Iterator[Path]:
    """From a right edge to a left one; within the versions from a lower edge to an upper one."""
    places = {box.node.id: box for box in boxes}
    for edge in graph.edges:
        start, end = places[edge.start], places[edge.end]
        if start.node.column == end.node.column:
            x = start.x + BOX_WIDTH / 2
            yield Path(f"M{x:.1f} {start.y + BOX_HEIGHT:.1f}V{end.y - 2:.1f}", edge.line)
            continue
        x, there = start.x + BOX_WIDTH, end.x - 2
        half = (x + there) / 2 if end.x - x < BOX_WIDTH else x + COLUMN_GAP / 2
        curve = f"M{x:.1f} {start.middle:.1f}C{half:.1f} {start.middle:.1f} {half:.1f} {end.middle:.1f}"
        yield Path(f"{curve} {there:.1f} {end.middle:.1f}", edge.line)


def _arcs(graph: Graph, boxes: Iterable[Box]) -> Iterator[Path]:
    places = {box.node.id: box for box in boxes}
    for edge in graph.edges:
        start, end = places[edge.start], places[edge.end]
        bow = min(ARC_MAX, ARC_MIN + (end.y - start.y) / 12)
        x, there = start.x, end.x - 2
        path = f"M{x:.1f} {start.middle:.1f}C{x - bow:.1f} {start.middle:.1f} {there - bow:.1f} {end.middle:.1f}"
        yield Path(f"{path} {there:.1f} {end.middle:.1f}", edge.line)


def _box(node: Node, x: float, y: float, width: float, characters: int) -> Box:
    return Box(node, x, y, width, *(shown(line, characters) for line in (node.what, node.name, node.text)))


def _gap(column: Iterable[Node]) -> float:
    """Versions are apart, so that the lines between them are seen."""
    return VERSIONS_GAP if any(node.column == VERSIONS for node in column) else ROW_GAP


def _height(rows: int, gap: float = ROW_GAP) -> float:
    return rows * (BOX_HEIGHT + gap) - gap
