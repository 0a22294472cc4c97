"""Values that others wrote, as text that a terminal and a page can bear. Used by whatever shows a lineage.

Always: one line, printable characters only, no longer than asked for; so no value moves a cursor, turns a line's
direction or breaks an encoding. Passwords in addresses are left out.
"""

from __future__ import annotations

import json
from typing import Final

from registry_client.tracking_uri import without_passwords

CHARACTERS_MAX: Final = 200
DIGEST_CHARACTERS: Final = 12
LOOKED_AT_MAX: Final = 10_000
"""So far an address in it is looked for: more than is ever shown."""
CUT: Final = "…"


def shown(value: object, characters_max: int = CHARACTERS_MAX) -> str:
    """A string as it is, anything else as JSON writes it; cut with an ellipsis where it is too long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    kept = without_passwords(text[:LOOKED_AT_MAX])[: characters_max + 1]
    printable = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in kept)
    return printable if len(printable) <= characters_max else printable[: characters_max - 1] + CUT


def short(digest: str | None) -> str:
    """The beginning of a digest, by which people know it again; "not recorded" for none."""
    return "not recorded" if digest is None else digest[:DIGEST_CHARACTERS]


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 file`, `2,100 files`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def figure(number: float | None) -> str:
    """A measured number with as many digits as were recorded, and six at most; a whole one as people count."""
    if number is None:
        return "no figure"
    whole = abs(number) < 1e15 and number == int(number)
    return f"{int(number):,}" if whole else f"{number:.6g}"
