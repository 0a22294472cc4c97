"""The card: every figure comes from a document of the bundle, whatever words the data has they stay words."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from html.parser import HTMLParser
from typing import Any

import pytest

from pipelines.artifact.card import card_html, card_markdown
from pipelines.artifact.places import EVALUATION, LINEAGE, Place, shown
from pipelines.artifact.sections import SLICE_MEASURES, TITLES, sections
from pipelines.definition import Regression
from pipelines.refusal import Refusal
from registry_client import canonical_json
from tests.pipelines.artifact.learnt_models import Model
from tests.pipelines.artifact.walked_card import WalkedCard, unescaped, value_at


@pytest.fixture(scope="module")
def page(model: Model, documents: dict[str, Any], drawn: dict[str, bytes]) -> str:
    return card_html(model.work.definition, documents, drawn).decode()


def html_of(model: Model, documents: dict[str, Any]) -> str:
    """The page with nothing where pictures would be."""
    blank = dict.fromkeys(("importances.svg", "explained_rows.svg", "calibration.svg", "slices.svg"), b"<svg></svg>")
    return card_html(model.work.definition, documents, blank).decode()


def test_every_figure_of_the_page_walks_back_to_its_document(page: str, documents: dict[str, Any]) -> None:
    walked = WalkedCard(page)
    assert len(walked.told) > 120
    for pointer, text in walked.told:
        assert text == shown(value_at(documents, pointer)), pointer


def test_a_name_that_is_a_key_in_a_document_is_that_key(page: str, documents: dict[str, Any]) -> None:
    keys = WalkedCard(page).keys
    assert len(keys) > 30
    for pointer, text in keys:
        value_at(documents, pointer)
        assert pointer.replace("/", ".").endswith(f".{text}")


def test_no_digit_stands_in_the_page_that_was_not_taken_from_a_document(
    model: Model, page: str, documents: dict[str, Any]
) -> None:
    prose = model.work.definition.prose
    by_hand = [model.work.definition.title, *prose.intended_use, *prose.not_intended, *prose.limits]
    for text in WalkedCard(page).literals:
        assert not re.search(r"\d", text) or text in by_hand or text == "manifest.sha256", text


def test_every_figure_of_the_report_s_measures_gates_and_slices_is_told(page: str, documents: dict[str, Any]) -> None:
    told = {pointer for pointer, _ in WalkedCard(page).told}
    report = documents["evaluation.json"]
    wanted = [f"whole/{key}" for key in report["whole"]]
    wanted += [f"periods/{at}/measures/{key}" for at in range(2) for key in report["periods"][at]["measures"]]
    wanted += [f"gates/{at}/{key}" for at in range(2) for key in ("name", "on", "measured", "bound", "passed", "rows")]
    measures = SLICE_MEASURES[report["task"]]
    wanted += [f"slices/{at}/measures/{key}" for at in range(3) for key in measures]
    wanted += [f"calibration/bins/{at}/{key}" for at in range(3) for key in ("predicted", "actual", "rows")]
    assert {f"evaluation.json#/{place}" for place in wanted} <= told


def test_markdown_and_page_have_the_same_tables(model: Model, page: str, documents: dict[str, Any]) -> None:
    markdown = card_markdown(model.work.definition, documents).decode()
    lines = [line for line in markdown.splitlines() if line.startswith("|") and "| ---" not in line]
    in_markdown = [[unescaped(cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert in_markdown == WalkedCard(page).rows


def test_a_changed_figure_in_the_report_is_a_changed_figure_in_the_card(
    model: Model, page: str, documents: dict[str, Any]
) -> None:
    changed = deepcopy(documents)
    changed["evaluation.json"]["whole"]["bias"] = 0.4242
    assert "0.4242" not in page
    assert "0.4242" in html_of(model, changed)
    assert b"0.4242" in card_markdown(model.work.definition, changed)


def test_the_page_loads_and_runs_nothing(page: str) -> None:
    assert not re.search(r"<script|<link|<iframe|<img|@import|\bsrc=|\son\w+=|javascript:", page)
    addresses = set(re.findall(r"https?://[^\"' )]+", page))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "default-src 'none'" in page


class Balance(HTMLParser):
    """Which elements are open, and which ids were seen."""

    VOID = frozenset({"meta", "br", "hr", "use", "path", "img", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_closed_and_its_ids_are_unique(page: str) -> None:
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert len(balance.ids) == len(set(balance.ids))


def test_words_from_data_and_prose_stay_words(model: Model, documents: dict[str, Any]) -> None:
    hostile = deepcopy(documents)
    words = "<img src=x onerror=alert(1)> | **bold** [link](http://evil.example) `code`\n# heading"
    hostile["evaluation.json"]["slices"][0]["value"] = words
    hostile["evaluation.json"]["gates"][0]["on"] = words
    hostile["manifest.json"]["lineage"]["data"]["tables"] = {
        words: {"version": 1, "digest": "0" * 64, "rows": 1, "loads": {words: {"rows": 1, "digest": "0" * 64}}}
    }
    page, markdown = html_of(model, hostile), card_markdown(model.work.definition, hostile).decode()
    assert "<img" not in page
    assert "<b>" not in page
    assert not re.search(r"(?<!\\)<", markdown)
    assert not re.search(r"(?<!\\)\[link\]", markdown)
    assert "\n# heading" not in markdown
    widths = {len(re.split(r"(?<!\\)\|", line)) for line in markdown.splitlines() if "bold" in line}
    assert widths <= {6, 10, 11}


def test_a_quantity_is_told_with_its_unit_and_a_cycle_with_where_it_begins(model: Model, page: str) -> None:
    walked = WalkedCard(page)
    units = [text for pointer, text in walked.told if pointer == "evaluation.json#/label/unit"]
    cycles = [row for row in walked.rows if "cycle" in row]
    if isinstance(model.work.definition.task, Regression):
        assert units == ["minutes"]
        assert [row[row.index("cycle") + 1 :][:2] for row in cycles] == [["0", "24"]]
    else:
        assert units == cycles == []


def test_what_was_measured_on_no_row_is_a_dash_and_not_a_zero(page: str) -> None:
    told = dict(WalkedCard(page).told)
    missing = next(key for key in ("auc", "mae_skill") if f"evaluation.json#/slices/2/measures/{key}" in told)
    assert told[f"evaluation.json#/slices/2/measures/{missing}"] == "\N{EN DASH}"


def test_a_failed_gate_and_a_drill_are_told_before_anything_else(model: Model, documents: dict[str, Any]) -> None:
    spoilt = deepcopy(documents)
    spoilt["evaluation.json"]["gates"][0]["passed"] = False
    spoilt["manifest.json"]["lineage"]["parameters"]["drill"] = "spoilt on purpose: everything is NaN"
    page = html_of(model, spoilt)
    beginning = page[: page.index('id="intended"')]
    assert "Not every gate was passed" in beginning
    assert "spoilt on purpose: everything is NaN" in beginning
    assert "Not every gate" not in html_of(model, documents)


def test_a_report_without_what_the_card_needs_is_refused_by_place(model: Model, documents: dict[str, Any]) -> None:
    short = deepcopy(documents)
    del short["evaluation.json"]["robustness"]["missing"]["drop"]
    with pytest.raises(Refusal, match=r"evaluation\.json#/robustness/missing/drop: expected a value for the card"):
        card_markdown(model.work.definition, short)


def test_documents_that_were_written_and_read_give_the_same_bytes(
    model: Model, documents: dict[str, Any]
) -> None:
    read = {name: json.loads(canonical_json.encode(document)) for name, document in documents.items()}
    assert html_of(model, read) == html_of(model, documents)


def test_a_measure_that_nobody_has_named_yet_comes_last_and_goes_by_its_key(
    model: Model, documents: dict[str, Any]
) -> None:
    more = deepcopy(documents)
    report = more["evaluation.json"]
    for measures in (report["whole"], *(period["measures"] for period in report["periods"])):
        measures["brand_new"] = 0.5
    section = next(one for one in sections(model.work.definition, more) if one.name == "measures")
    names = [row[0] for row in section.tables[0].rows]
    assert names[-1] == "brand new"
    assert names[0] == TITLES["rows"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"), (True, "yes"), (False, "no"), (68_785, "68,785"), (2015, "2015"), (-12_345, "-12,345"),
        (0.884321, "0.8843"), (-0.0, "0"),
        (12_345.6, "12,346"), (1e-6, "1e-06"), ("a" * 64, "a" * 12), ("A" * 64, "A" * 64), ([32, 16], "32, 16"),
        ([], "\N{EN DASH}"), ("words", "words"),
    ],
)  # fmt: skip
def test_a_value_reads_like_this(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_place_is_written_as_a_json_pointer() -> None:
    assert (EVALUATION / "slices" / 3 / "a/b~c").pointer == "evaluation.json#/slices/3/a~1b~0c"
    assert (LINEAGE / "code").value({"manifest.json": {"lineage": {"code": 7}}}) == 7
    with pytest.raises(Refusal, match="lineage/0: expected a value for the card, got none at"):
        Place("manifest.json", ("lineage", 0)).value({"manifest.json": {"lineage": []}})
    with pytest.raises(TypeError, match="no value to show: dict"):
        shown({})
