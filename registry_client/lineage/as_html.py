"""A lineage as one page: no script, nothing loaded from elsewhere, the graph as SVG. Pure.

Used by `roost lineage --html`. Always: the same lineage gives the same bytes; every value goes through the template's
escaping; whatever the graph shows is told in words beside it.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from registry_client.lineage import words
from registry_client.lineage.document import VersionLineage
from registry_client.lineage.graph import KINDS, LINES, across, down, graph
from registry_client.lineage.shown import counted, figure, short, shown

TEMPLATE: Final = "lineage.html.jinja"
ENTRIES_MAX: Final = 200
"""The newest of the journal's entries that are about the version."""
VALUE_CHARACTERS_MAX: Final = 1000
LEAVES_MAX: Final = 500
"""Of parameters, files of code and other lists; the JSON has all."""

FILTERS: Final = {
    "change_words": words.change_words,
    "commit_words": words.commit_words,
    "counted": counted,
    "entry_number": words.entry_number,
    "entry_words": words.entry_words,
    "figure": figure,
    "gate_words": words.gate_words,
    "leaf": words.leaf,
    "named_words": words.named_words,
    "outcome": words.outcome,
    "promotion_words": words.promotion_words,
    "rows_words": words.rows_words,
    "sample_words": words.sample_words,
    "short": short,
    "shown": shown,
    "stay_words": words.stay_words,
    "summary": words.summary,
    "table_words": words.table_words,
    "time_words": words.time_words,
}


def page(lineage: VersionLineage) -> str:
    """The whole page, HTML 5."""
    drawn = graph(lineage)
    return _template().render(
        lineage=lineage,
        origin=lineage.origin,
        beside=lineage.beside,
        graph=drawn,
        drawings={"across": across(drawn), "down": down(drawn)},
        kinds={kind: text for kind, text in KINDS.items() if any(node.kind == kind for node in drawn.nodes)},
        lines={line: text for line, text in LINES.items() if any(edge.line == line for edge in drawn.edges)},
        gates=[*(lineage.origin.gates or ()), *(lineage.beside.provenance.speed if lineage.beside.provenance else ())],
        brief=words.brief_rows,
        source_words=words.source_words,
        parts=words.PARTS,
        entries_max=ENTRIES_MAX,
        leaves_max=LEAVES_MAX,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("registry_client.lineage", ""), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_printable,
    )  # fmt: skip
    environment.filters |= FILTERS
    return environment.get_template(TEMPLATE)


def _printable(value: object) -> object:
    """Whatever the template writes: it need not think of it. What it made itself is Markup."""
    return shown(value, VALUE_CHARACTERS_MAX) if isinstance(value, str) and not isinstance(value, Markup) else value
