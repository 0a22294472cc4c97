"""The page of a lineage: self-contained, escaped, the same bytes each time; and its graph, in both drawings."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from registry_client.folder import FolderRegistry
from registry_client.lineage.as_html import page
from registry_client.lineage.document import VersionLineage
from registry_client.lineage.gathering import of_bundle
from registry_client.lineage.graph import (
    BOX_HEIGHT,
    KINDS,
    LOADS_SHOWN,
    STAYS_SHOWN,
    TABLES_SHOWN,
    Drawing,
    across,
    down,
    graph,
)
from registry_client.manifest import Lineage
from registry_client.verify import read_verified
from tests.registry_client.lineage.made_versions import (
    MODEL,
    bundled,
    data,
    gathered,
    journal,
    place,
    registry_of_three,
)

EVIL = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x1b\u202e{{ 7 * 7 }}"
VOID = {"meta", "rect", "path", "br"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and what was opened and not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += " " if tag in ("dt", "dd", "td", "th", "li", "p") else ""

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> VersionLineage:
    """Version 2 of three, with its journal."""
    folder = tmp_path_factory.mktemp("page")
    registry = registry_of_three(folder)
    return gathered(registry, 2, folder, journal(registry))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> VersionLineage:
    """Evil wherever others write."""
    folder = tmp_path_factory.mktemp("hostile")
    lineage = Lineage({EVIL: EVIL, "tables": {EVIL: {"loads": {EVIL: {}}}}}, {EVIL: EVIL}, {EVIL: EVIL})
    manifest = bundled(folder / "b", lineage=lineage, report=b'{"gates": [{"name": "' + b"<b>x</b>" + b'"}]}')
    registry = FolderRegistry(folder / "registry")
    registry.push(folder / "b", digest=manifest.digest)
    registry.attach(MODEL, 1, "comparison.json", b'{"<b>": "<script>"}')
    registry.attach(MODEL, 1, "provenance.json", b"<script>")
    entry = {"model": MODEL, "number": EVIL, "kind": EVIL, "at_utc": "2026-01-31T12:00:00Z", "told": EVIL,
             "operator": EVIL, "reason": EVIL, "to": place(("1", manifest.digest))}  # fmt: skip
    return gathered(registry, 1, folder, [entry])


def drawings(of: VersionLineage) -> list[Drawing]:
    return [draw(graph(of)) for draw in (across, down)]


@pytest.mark.parametrize("of", ["whole", "hostile"])
def test_the_page_is_well_formed_and_loads_and_runs_nothing(of: str, request: pytest.FixtureRequest) -> None:
    html = page(request.getfixturevalue(of))
    found = Page(html)
    assert found.open == []
    assert not {tag for tag, _ in found.tags} & {"script", "img", "link", "iframe", "object", "b", "image", "use"}
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset")]
        assert (attributes.get("href") or "#").startswith("#"), (tag, attributes)
    assert "url(" not in re.sub(r"url\(#tip-\w+\)", "", html)
    assert "default-src 'none'" in html


@pytest.mark.parametrize("of", ["whole", "hostile"])
def test_every_graph_is_xml_and_every_link_leads_somewhere(of: str, request: pytest.FixtureRequest) -> None:
    html = page(request.getfixturevalue(of))
    graphs = re.findall(r"<svg class=\"(?:across|down)\".*?</svg>", html, re.DOTALL)
    assert len(graphs) == 2
    for drawn in graphs:
        ElementTree.fromstring(drawn)
    ids = {attributes["id"] for _, attributes in Page(html).tags if "id" in attributes}
    links = {(attributes["href"] or "")[1:] for _, attributes in Page(html).tags if "href" in attributes}
    assert links <= ids


def test_what_others_wrote_is_text_and_never_markup_nor_template(hostile: VersionLineage) -> None:
    html = page(hostile)
    assert "<script" not in html
    assert "{{ 7 * 7 }}" in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "alert(1)" in Page(html).text


def test_the_same_lineage_gives_the_same_page(whole: VersionLineage) -> None:
    assert page(whole) == page(whole)


def test_the_page_tells_each_part(whole: VersionLineage) -> None:
    text = " ".join(Page(page(whole)).text.split())
    for told in (
        "churn:2 @stable", whole.origin.digest, "churn at version 4", "3 of 3 passed", "train.trees.count 150",
        "promoted from canary to stable, by ada (an hour at 25 %)", "with 5 %, then 25 % of the traffic",
        "Stable when this version was registered: version 1", "Stable when version 3 @canary", "onnxruntime 1.23.2",
        "http://ada:***@mlflow:5000", "signature-00ff00ff00ff00ff.json", "notes.txt",
    ):  # fmt: skip
        assert told in text, told
    assert "secret" not in text


def test_what_is_damaged_is_told_at_the_top(hostile: VersionLineage) -> None:
    html = page(hostile)
    assert html.index("Damaged, and left out") < html.index("From data to traffic")
    assert "provenance.json" in html


def test_a_bundles_folder_has_a_page_too(tmp_path: Path) -> None:
    bundled(tmp_path / "b", lineage=Lineage())
    found = of_bundle(read_verified(tmp_path / "b"))
    text = Page(page(found)).text
    assert "no journal was asked" in text
    assert "this version" not in [node.what for node in graph(found).nodes]


def test_the_graph_leads_from_loads_to_where_it_served(whole: VersionLineage) -> None:
    found = graph(whole)
    nodes = {node.id: node for node in found.nodes}
    assert [node.name for node in found.sources(nodes["table 0"])] == [f"churn {year}" for year in range(2015, 2019)]
    assert {node.id for node in found.sources(nodes["model"])} == {"parameters", "code", "examples training"}
    assert [node.id for node in found.sources(nodes["gates"])] == ["examples evaluation"]
    assert {node.id for node in found.sources(nodes["bundle"])} == {"model", "gates"}
    assert {node.id for node in found.sources(nodes["version"])} == {"bundle", "parent"}
    assert [node.id for node in found.sources(nodes["children"])] == ["version"]
    assert [node.what for node in found.nodes if node.kind == "service"] == ["canary from", "stable from"]


def test_a_nodes_title_has_the_digest_whole(whole: VersionLineage) -> None:
    titles = {node.id: node.title for node in graph(whole).nodes}
    table = whole.origin.data.tables[0]
    assert table.digest in titles["table 0"]
    assert table.loads[3].digest in titles["load 0 3"]
    assert whole.origin.digest in titles["bundle"]
    assert whole.origin.manifest.files["model.onnx"].sha256 in titles["model"]
    assert whole.parent is not None
    assert whole.parent.digest in titles["parent"]


@pytest.mark.parametrize("of", ["whole", "hostile"])
def test_every_edge_has_both_ends_and_goes_onwards(of: str, request: pytest.FixtureRequest) -> None:
    found = graph(request.getfixturevalue(of))
    columns = {node.id: node.column for node in found.nodes}
    order = [node.id for node in found.nodes]
    assert len(set(order)) == len(order)
    for edge in found.edges:
        onwards = columns[edge.end] - columns[edge.start]
        assert onwards > 0 or (edge.line == "parent" and order.index(edge.end) == order.index(edge.start) + 1)
    assert {node.kind for node in found.nodes} <= KINDS.keys()


@pytest.mark.parametrize("of", ["whole", "hostile"])
def test_no_box_lies_on_another_or_outside_the_drawing(of: str, request: pytest.FixtureRequest) -> None:
    for drawn in drawings(request.getfixturevalue(of)):
        for index, box in enumerate(drawn.boxes):
            assert 0 <= box.x <= drawn.width - box.width
            assert 0 <= box.y <= drawn.height - BOX_HEIGHT
            for other in drawn.boxes[:index]:
                apart = abs(box.x - other.x) >= box.width or abs(box.y - other.y) >= BOX_HEIGHT
                assert apart, (box.node.id, other.node.id)


def test_the_graph_stays_within_a_bound_however_much_there_is(tmp_path: Path) -> None:
    loads = {f"{day:04}": {"rows": day, "digest": "ab" * 32} for day in range(400)}
    many: dict[str, Any] = {"tables": {f"t{index}": data(loads)["tables"]["churn"] for index in range(20)}}
    manifest = bundled(tmp_path / "b", lineage=Lineage(many, {}, {}))
    registry = FolderRegistry(tmp_path / "registry")
    registry.push(tmp_path / "b", digest=manifest.digest)
    entries = [
        {"model": MODEL, "kind": "x", "at_utc": f"2026-01-31T12:{minute:02}:00Z",
         "to": place(("1", manifest.digest) if minute % 2 else None)}
        for minute in range(60)
    ]  # fmt: skip
    found = graph(gathered(registry, 1, tmp_path, entries))
    assert len([node for node in found.nodes if node.id.startswith("load ")]) <= max(3 * TABLES_SHOWN, LOADS_SHOWN + 1)
    assert len([node for node in found.nodes if node.kind == "service"]) == STAYS_SHOWN + 1
    assert [node.name for node in found.nodes if node.what == "tables"] == ["14 more"]
    assert len(found.nodes) < 60
