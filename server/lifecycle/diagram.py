"""The picture of the phases, drawn from their table: `python -m server.lifecycle.diagram > docs/lifecycle.svg`.

Used by people and by the test that holds the picture and the table together. Always: every pair of the table is a
numbered arrow and a line below; those into quarantine, which all phases have, are one arrow from the frame.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from html import escape
from typing import Final

from server.lifecycle.phases import TRANSITIONS, Phase

WIDTH: Final = 960
FRAME: Final = (20, 20, 920, 420)  # x, y, width, height
BOX: Final = (116, 36)
PLACES: Final[dict[Phase, tuple[int, int]]] = {
    Phase.REGISTERED: (120, 230),
    Phase.LOADING: (300, 80),
    Phase.CANARY: (640, 80),
    Phase.STABLE: (840, 230),
    Phase.LAST_SAFE: (660, 390),
    Phase.SHADOW: (300, 390),
    Phase.QUARANTINED: (130, 510),
}
BEND: Final = 24
LEGEND_TOP: Final = 570
LINE_HEIGHT: Final = 19
STYLE: Final = (
    "text{font:14px sans-serif;fill:#222}.n{font-size:11px}.w{font-size:13px}.b{font-weight:bold;text-anchor:middle}"
    ".m{text-anchor:middle;dominant-baseline:central}path,rect,circle{fill:none;stroke:#555;stroke-width:1.3}"
    ".p{fill:#fff;stroke:#222}.q{fill:#fbe9e7}.s{fill:#e8f5e9}.f{stroke-dasharray:5 4;stroke:#999}"
)

assert set(PLACES) == set(Phase), "every phase has its place"
assert all((phase, Phase.QUARANTINED) in TRANSITIONS for phase in set(Phase) - {Phase.QUARANTINED}), (
    "one arrow tells all"
)


def diagram() -> str:
    """The picture as SVG."""
    drawn = [pair for pair in TRANSITIONS if pair[1] is not Phase.QUARANTINED]
    height = LEGEND_TOP + LINE_HEIGHT * (len(drawn) + 2)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>The phases of an artifact, and what leads from one to the other</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" style="fill:#555;stroke:none"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" style="fill:#fff;stroke:none"/>',
        '<rect class="f" x="{}" y="{}" width="{}" height="{}" rx="12"/>'.format(*FRAME),
        *_into_quarantine(),
    ]
    for number, pair in enumerate(drawn, start=1):
        lines += _arrow(number, *pair)
    lines += [line for phase in Phase for line in _box(phase)]
    for number, (source, target) in enumerate(drawn, start=1):
        text = f"{number}  {source} → {target}: {TRANSITIONS[source, target]}"
        lines.append(_legend(number, text))
    every = next(text for pair, text in TRANSITIONS.items() if pair[1] is Phase.QUARANTINED)
    lines.append(_legend(len(drawn) + 1, f"*  any → {Phase.QUARANTINED}: {every}"))
    return "\n".join([*lines, "</svg>", ""])


def _into_quarantine() -> Iterator[str]:
    x, y = PLACES[Phase.QUARANTINED]
    bottom = FRAME[1] + FRAME[3]
    yield f'<path d="M{x + 30},{bottom} L{x + 30},{y - BOX[1] // 2}" marker-end="url(#a)"/>'
    yield f'<text class="m n" x="{x + 42}" y="{(bottom + y - BOX[1] // 2) // 2}">*</text>'


def _box(phase: Phase) -> Iterator[str]:
    (x, y), (width, height) = PLACES[phase], BOX
    kind = {Phase.QUARANTINED: "p q", Phase.STABLE: "p s", Phase.LAST_SAFE: "p s"}.get(phase, "p")
    yield f'<rect class="{kind}" x="{x - width // 2}" y="{y - height // 2}" width="{width}" height="{height}" rx="8"/>'
    yield f'<text class="b" x="{x}" y="{y + 5}">{phase}</text>'


def _arrow(number: int, source: Phase, target: Phase) -> Iterator[str]:
    """A bow to the left of its way, so that two that go to and fro stay apart."""
    (x0, y0), (x1, y1) = PLACES[source], PLACES[target]
    length = math.hypot(x1 - x0, y1 - y0)
    bend = BEND if (target, source) in TRANSITIONS and source is not Phase.QUARANTINED else 0
    side = (bend * (y1 - y0) / length, -bend * (x1 - x0) / length)
    middle = ((x0 + x1) / 2 + 2 * side[0], (y0 + y1) / 2 + 2 * side[1])
    start, end = _edge(PLACES[source], middle), _edge(PLACES[target], middle)
    yield (
        f'<path d="M{start[0]:.0f},{start[1]:.0f} Q{middle[0]:.0f},{middle[1]:.0f} {end[0]:.0f},{end[1]:.0f}"'
        ' marker-end="url(#a)"/>'
    )
    # A third of the way, where fewer of them cross than in the middle.
    t = 0.36
    label = [(1 - t) ** 2 * start[i] + 2 * t * (1 - t) * middle[i] + t**2 * end[i] for i in (0, 1)]
    yield f'<circle class="p" cx="{label[0]:.0f}" cy="{label[1]:.0f}" r="9"/>'
    yield f'<text class="m n" x="{label[0]:.0f}" y="{label[1]:.0f}">{number}</text>'


def _edge(center: tuple[int, int], towards: tuple[float, float]) -> tuple[float, float]:
    """Where the line from a box's middle leaves the box."""
    dx, dy = towards[0] - center[0], towards[1] - center[1]
    scale = min(
        (BOX[0] / 2 + 2) / abs(dx) if dx else math.inf,
        (BOX[1] / 2 + 2) / abs(dy) if dy else math.inf,
    )
    return center[0] + dx * scale, center[1] + dy * scale


def _legend(number: int, text: str) -> str:
    return f'<text class="w" x="30" y="{LEGEND_TOP + LINE_HEIGHT * (number - 1)}">{escape(text)}</text>'


if __name__ == "__main__":
    sys.stdout.write(diagram())
