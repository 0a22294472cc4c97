"""A baseline drawn for a terminal: each feature a histogram, readable at 80 columns.

Used by `baselines.py`. Pure: a baseline in, what rich prints out. Always: a bin that holds anything has a bar that
shows, and names, which a stranger may have written, reach the terminal without control characters.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from registry_client.baseline.document import Baseline, Feature, Kind

BAR_CELLS = 28
LABEL_CELLS = 26
EIGHTHS = " ▏▎▍▌▋▊▉"
SHAPE_CELLS = 32
HEIGHTS = " ▁▂▃▄▅▆▇█"
ALWAYS_TOLD = frozenset({"missing", "other"})


def heading(name: str, digest: str, found: Baseline) -> Text:
    """Which model's it is, and of how many rows."""
    exact = "counted exactly" if found.rank_error == 0 else f"counts within {found.rank_error:.2%} of the rows"
    hourly = ", by hour of the week" if any(one.by_hour for one in found.inputs) else ""
    sizes = f"{len(found.inputs)} inputs, {len(found.predictions)} predictions"
    return Text.assemble(
        (_plain(name), "bold"), f"  {digest[:12]}\n", f"{found.rows:,} rows, {exact}{hourly}; {sizes}",
    )  # fmt: skip


def drawn(feature: Feature, codes: Mapping[str, str], width: int) -> RenderableType:
    """A heading and a bar for each bin of values; what is in no such bin is told in words.

    codes: what the bundle's meaning says a category's codes stand for.
    """
    title = Text(_plain(feature.name), style="bold cyan", no_wrap=True, overflow="ellipsis")
    traits = [feature.kind.value]
    if feature.importance is not None:
        traits.append(f"importance {feature.importance:.3g}")
    title.append(f"  {', '.join(traits)}", style="not bold default")
    bars, apart = _parts(feature)
    if codes and feature.kind is Kind.CATEGORY:
        wide = max(len(label) for label, _ in bars)
        bars = [(f"{label:>{wide}} {_plain(codes.get(label, ''))}".rstrip(), count) for label, count in bars]
        cells = max(len(label) for label, _ in bars)
        bars = [(f"{label:<{cells}}", count) for label, count in bars]
    label_cells = min(LABEL_CELLS, max(len(label) for label, _ in bars))
    bar_cells = max(8, min(BAR_CELLS, width - label_cells - 22))
    most = max(1, *(count for _, count in bars))
    lines = [_bar(label, count, feature.rows, most, label_cells, bar_cells) for label, count in bars]
    words = [f"{label} {_share(count, feature.rows)}" for label, count in apart if count > 0 or label in ALWAYS_TOLD]
    closing = Text(f"  {', '.join(words)}", style="dim")
    return Group(title, *_shape(feature), *lines, closing)


def _shape(feature: Feature) -> list[RenderableType]:
    """A number's density over its range in cells of equal width: bins of equal shares are all equally long."""
    if feature.kind is not Kind.NUMBER:
        return []
    edges, counts = np.array(feature.points), np.array(feature.counts[1 : len(feature.points)], dtype=np.float64)
    # Halved, so that the range of the largest floats is no infinity.
    cells = np.linspace(0.0, 1.0, SHAPE_CELLS + 1)
    reach = edges[-1] / 2 - edges[0] / 2
    if reach == 0 or not counts.any():
        return []
    below = np.interp(cells, (edges / 2 - edges[0] / 2) / reach, np.concatenate([[0.0], np.cumsum(counts)]))
    held = np.diff(below)
    heights = np.ceil((len(HEIGHTS) - 1) * held / held.max()).astype(int)
    drawn = "".join(HEIGHTS[height] for height in heights)
    return [Text.assemble("  ", (drawn, "cyan"), (f" {edges[0]:.6g} to {edges[-1]:.6g}", "dim"))]


def _parts(feature: Feature) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Bins to draw, and bins that stand apart: out of range or other, missing and non-finite."""
    named = list(zip(feature.bins, feature.counts, strict=True))
    points = len(feature.points)
    if feature.kind is Kind.CATEGORY:
        return named[:points], named[points:]
    return named[1:points], [named[0], *named[points:]]


def _bar(label: str, count: int, rows: int, most: int, label_cells: int, bar_cells: int) -> RenderableType:
    eighths = round(8 * bar_cells * count / most)
    # What is there at all is seen.
    eighths = max(1, eighths) if count else 0
    bar = "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")
    shown = label if len(label.rstrip()) <= label_cells else f"{label[: label_cells - 1]}…"
    return Text.assemble(
        f"  {shown[:label_cells]:>{label_cells}} ", (f"{bar:<{bar_cells}}", "cyan"), f" {_share(count, rows):>7} ",
        (f"{count:>{len(f'{rows:,}')},}", "dim"),
    )  # fmt: skip


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _share(count: int, rows: int) -> str:
    if count == 0:
        return "0 %"
    share = count / rows
    if 0 < share < 0.001:
        return "<0.1 %"
    return ">99.9 %" if 0.999 < share < 1 else f"{share * 100:.1f} %"
