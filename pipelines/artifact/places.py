"""Places: where a figure of the card stands in the bundle's own documents, and how it reads.

Used by `sections.py`, which names places, and `card.py`, which shows what is there. Always: what is shown of a place
depends on the value there alone, so that a figure in a card can be walked back to the file that it came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Any, Final

from pipelines.refusal import Refusal

EVALUATION_FILE: Final = "evaluation.json"
EXPLANATIONS_FILE: Final = "explanations.json"
MANIFEST_FILE: Final = "manifest.json"

Documents = Mapping[str, Any]
"""Of the bundle's JSON files those that a card tells of: by file name the document."""

NOTHING: Final = "\N{EN DASH}"
DIGEST_CHARACTERS: Final = 12
LONG_FROM: Final = 10_000
"""Numbers from here on are shown without decimals and with their thousands apart."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Place:
    """A value in a document. path: keys and indices, from the outermost."""

    file: str
    path: tuple[str | int, ...]

    def __truediv__(self, step: str | int) -> Place:
        return Place(self.file, (*self.path, step))

    def each(self, items: Sized) -> list[Place]:
        """The places of a list's items. items: the list there."""
        return [self / index for index in range(len(items))]

    @property
    def pointer(self) -> str:
        """The file, and the place in it as RFC 6901 writes it."""
        steps = (str(step).replace("~", "~0").replace("/", "~1") for step in self.path)
        return f"{self.file}#/" + "/".join(steps)

    def value(self, documents: Documents) -> Any:
        """Raises Refusal where the document has no such place."""
        found = documents[self.file]
        try:
            for step in self.path:
                found = found[step]
        except (KeyError, IndexError, TypeError) as error:
            raise Refusal(
                self.pointer, expected="a value for the card", got=f"none at {error}",
                hint="Run the stage that writes it again.",
            ) from error  # fmt: skip
        return found


@dataclass(frozen=True)
class Key:
    """The last step to a place, where that says something: a table's name, a parameter's."""

    place: Place
    steps: int = 1

    def __str__(self) -> str:
        return ".".join(str(step) for step in self.place.path[-self.steps :])


EVALUATION: Final = Place(EVALUATION_FILE, ())
EXPLANATIONS: Final = Place(EXPLANATIONS_FILE, ())
LINEAGE: Final = Place(MANIFEST_FILE, ("lineage",))
MEANING: Final = Place(MANIFEST_FILE, ("meaning",))


def shown(value: object) -> str:
    """As a card writes it: four digits of a fraction, thousands apart, the beginning of a digest, yes and no."""
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}" if abs(value) >= LONG_FROM else str(value)
        case float():
            value += 0.0  # a negative zero is zero
            return f"{value:,.0f}" if abs(value) >= LONG_FROM else f"{value:.4g}"
        case str():
            return value[:DIGEST_CHARACTERS] if _DIGEST.fullmatch(value) else value
        case list() | tuple():
            return ", ".join(shown(one) for one in value) or NOTHING
        case _:
            raise TypeError(f"no value to show: {type(value).__name__}")
