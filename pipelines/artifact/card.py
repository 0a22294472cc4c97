"""Model card: what the model is for, what it learnt from, how good it is and for whom, in Markdown and as one page.

Used by the bundle stage; what it says is in `sections.py`, its shape in `card.md.jinja` and `card.html.jinja`. Always:
in the page every value tells the place that it comes from, as `data-from`; what comes from outside is escaped; the page
needs no script and nothing from elsewhere, and is read on a phone, in light and in dark.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.artifact.places import Documents, Key, Place, shown
from pipelines.artifact.sections import Cell, sections
from pipelines.definition import Definition

SHORT_CHARACTERS: Final = 18
LONG_CHARACTERS: Final = 120
TEMPLATES: Final = Path(__file__).parent
_SIGNS = re.compile(r"([\\`*_\[\]<>|~#&$])")
_SPACE = re.compile(r"\s+")


def card_markdown(definition: Definition, documents: Documents) -> bytes:
    """`card.md`; pictures are links to the files beside it."""

    def cell(content: Cell) -> Markup:
        return Markup(_in_markdown(shown(content.value(documents)) if isinstance(content, Place) else content))

    # Every value goes through it, since Markdown lets HTML through and has signs of its own.
    environment = Environment(**_SETTINGS, finalize=_in_markdown)
    return _filled(environment, "card.md.jinja", cell, definition, documents, {})


def card_html(definition: Definition, documents: Documents, pictures: Mapping[str, bytes]) -> bytes:
    """`card.html`, whole in itself. pictures: by file name SVG of ours, without a prologue."""

    def cell(content: Cell) -> Markup:
        if isinstance(content, str):
            return Markup("{}").format(content)
        if isinstance(content, Key):
            return Markup('<span data-key-of="{}">{}</span>').format(content.place.pointer, str(content))
        value = content.value(documents)
        title = Markup(' title="{}"').format(value) if isinstance(value, str) and shown(value) != value else Markup("")
        return Markup('<span data-from="{}"{}>{}</span>').format(content.pointer, title, shown(value))

    drawn = {name: Markup(content.decode("utf-8")) for name, content in pictures.items()}
    environment = Environment(**_SETTINGS, autoescape=True)
    return _filled(environment, "card.html.jinja", cell, definition, documents, drawn)


_SETTINGS: Final[Mapping[str, Any]] = {
    "loader": FileSystemLoader(TEMPLATES), "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True,
    "keep_trailing_newline": True,
}  # fmt: skip


def _filled(
    environment: Environment,
    template: str,
    cell: Callable[[Cell], Markup],
    definition: Definition,
    documents: Documents,
    pictures: Mapping[str, Markup],
) -> bytes:
    environment.filters |= {"cell": cell, "link": Markup}  # a picture's file name is ours, and no words
    text = environment.get_template(template).render(
        title=definition.title, name=definition.name, sections=sections(definition, documents), pictures=pictures,
        kind=lambda content: _kind(content.value(documents) if isinstance(content, Place) else content),
    )  # fmt: skip
    return text.encode("utf-8")


def _kind(value: object) -> str:
    """How a cell is set: numbers to the right, words that are one date or name in one line, lists in a wide column."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return "number"
    characters = len(value) if isinstance(value, str) else len(shown(value)) if isinstance(value, list | bool) else 0
    return "short" if characters <= SHORT_CHARACTERS else "long" if characters >= LONG_CHARACTERS else "words"


def _in_markdown(value: object) -> str:
    """One line of plain text, whatever signs are in it; what is Markup already stays as it is."""
    if isinstance(value, Markup):
        return value
    return _SIGNS.sub(r"\\\1", _SPACE.sub(" ", str(value)))
