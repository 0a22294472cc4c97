"""Pictures: importances, explained answers, calibration and slices as SVG, for the bundle and inside its card.

Drawn by matplotlib from the documents of `explanations.py` and `pipelines/evaluation/report.py`; used by the bundle
stage. Always: the same document gives the same bytes (fonts are the library's own, drawn as paths; ids are hashed with
a fixed salt; no date), a picture says in a title and a description what it shows, its ids begin with its name, so that
several stand in one page, and it is as wide as a phone, on light and on dark ground.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any, Final

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

WIDTH_POINTS: Final = 330
MARGIN_POINTS: Final = 6
TEXT_POINTS: Final = 8.5
LINE_POINTS: Final = 25
"""A label and the bar below it."""
BAR_POINTS: Final = 7
POINTS_AN_INCH: Final = 72
LABEL_CHARACTERS_MAX: Final = 46
FEATURES_MAX: Final = 24
STEPS_MAX: Final = 6
SLICES_MAX: Final = 60

INK, FAINT, GRID, UP, DOWN = "#1b2026", "#565f69", "#d3d1c9", "#1d5687", "#a5351a"
DARK: Final = {INK: "#e6e8ea", FAINT: "#a3abb3", GRID: "#3a4147", UP: "#8fc1e6", DOWN: "#ff9d7f"}
"""What each colour becomes on dark ground. All but GRID have a contrast of at least 4.5 with the ground."""
MINUS: Final = "\N{MINUS SIGN}"
GROUND, DARK_GROUND = "#ffffff", "#1a1e22"

_FAMILY = "roost pictures"
_FONTS = ((400, "DejaVuSans.ttf"), (700, "DejaVuSans-Bold.ttf"))
_SETTINGS: Final[dict[Any, Any]] = {
    "font.family": _FAMILY, "font.size": TEXT_POINTS, "svg.fonttype": "path", "svg.hashsalt": "roost",
    "text.color": INK, "axes.edgecolor": GRID, "axes.labelcolor": FAINT, "xtick.color": FAINT, "ytick.color": FAINT,
    "grid.color": GRID, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "axes.unicode_minus": True, "path.simplify": False,
}  # fmt: skip


def pictures(report: Mapping[str, Any], explanations: Mapping[str, Any]) -> dict[str, bytes]:
    """All of them, by file name. report, explanations: the documents."""
    return {
        "importances.svg": importances_picture(explanations),
        "explained_rows.svg": explained_rows_picture(explanations),
        "calibration.svg": calibration_picture(report),
        "slices.svg": slices_picture(report),
    }


def importances_picture(explanations: Mapping[str, Any]) -> bytes:
    """A bar for each feature: its share of all |values|, strongest first."""
    entries = explanations["importances"][:FEATURES_MAX]
    largest = max((entry["share"] for entry in entries), default=0) or 1
    with _drawing():
        figure, axes = _sheet(LINE_POINTS * len(entries) + 2 * MARGIN_POINTS)
        for place, entry in enumerate(entries):
            top = MARGIN_POINTS + LINE_POINTS * place
            room = LABEL_CHARACTERS_MAX - len(entry["feature"]) - len(" ()")
            words = f"{_short(entry['title'], room)} ({entry['feature']})"
            _label(axes, top, words, f"{100 * entry['share']:.1f} %")
            _bar(axes, top, 0, entry["share"] / largest, UP, track=False)  # whose end would read as all of it
        told = ", ".join(f"{entry['title']} {100 * entry['share']:.1f} %" for entry in entries)
        return _svg(figure, "importances", f"How much each feature moves the answers, over {explanations['rows']} rows",
                    f"A bar a feature, by its share of all contributions: {told}.")  # fmt: skip


def explained_rows_picture(explanations: Mapping[str, Any]) -> bytes:
    """For each explained answer: from the base, feature by feature, to what the model answered."""
    examples = [_Waterfall(explanations, example) for example in explanations["examples"]]
    low, high = (end(end(one.ends) for one in examples) for end in (min, max))
    span = (high - low) or 1
    with _drawing():
        figure, axes = _sheet(sum(LINE_POINTS * (len(one.steps) + 2) for one in examples))
        top: float = MARGIN_POINTS
        for one in examples:
            axes.text(MARGIN_POINTS, top, one.headline, va="top", weight=700)
            axes.text(MARGIN_POINTS, top + 12, one.way, va="top", color=FAINT)
            top += 1.25 * LINE_POINTS
            for name, start, value in one.steps:
                _label(axes, top, name, _signed(value))
                left, right = sorted(((start - low) / span, (start + value - low) / span))
                _bar(axes, top, left, right, UP if value >= 0 else DOWN)
                _base_line(axes, top, (explanations["base"] - low) / span)
                top += LINE_POINTS
            top += 0.75 * LINE_POINTS
        told = " ".join(one.told for one in examples)
        return _svg(figure, "explained_rows", f"What made {len(examples)} answers, in {explanations['unit']}", told)


def calibration_picture(report: Mapping[str, Any]) -> bytes:
    """What was predicted against what came true, bin by bin; on the line is right."""
    bins = report["calibration"]["bins"]
    predicted, actual = ([one[key] for one in bins] for key in ("predicted", "actual"))
    with _drawing():
        figure = Figure(figsize=(WIDTH_POINTS / POINTS_AN_INCH, WIDTH_POINTS / POINTS_AN_INCH * 0.85))
        axes = figure.add_axes((0.15, 0.15, 0.82, 0.82))
        ends = [min(predicted + actual), max(predicted + actual)]
        axes.plot(ends, ends, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot(predicted, actual, color=UP, marker="o", markersize=4, linewidth=1.2)
        axes.set_xlabel(f"predicted {_quantity(report)}")
        axes.set_ylabel(f"actual {_quantity(report)}")
        told = "; ".join(f"predicted {one['predicted']:g}, actual {one['actual']:g}" for one in bins)
        return _svg(figure, "calibration", "What was predicted, and what came true",
                    f"By bins of about as many rows each: {told}.")  # fmt: skip


def slices_picture(report: Mapping[str, Any]) -> bytes:
    """The gates' measure in every slice that is judged, against the whole's."""
    measure = report["measure"]["name"]
    judged = [one for one in report["slices"] if one["judged"] and one["measures"][measure] is not None][:SLICES_MAX]
    whole = report["whole"][measure]
    found = [*(one["measures"][measure] for one in judged), whole]
    low, high = min(found), max(found)
    pad = 0.05 * (high - low) or 0.05
    low, span = low - pad, high - low + 2 * pad
    with _drawing():
        lines = len(judged) + len({one["column"] for one in judged}) + 1
        figure, axes = _sheet(0.72 * LINE_POINTS * lines + 2 * MARGIN_POINTS)
        left, right = 0.42 * WIDTH_POINTS, WIDTH_POINTS - 46.0
        middle = left + (right - left) * (whole - low) / span
        bottom = MARGIN_POINTS + 0.72 * LINE_POINTS * lines
        axes.plot([middle, middle], [MARGIN_POINTS + 14, bottom], color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        axes.text(middle, MARGIN_POINTS, f"whole {whole:.3f}", va="top", ha="center", color=FAINT)
        top, column = MARGIN_POINTS + 0.72 * LINE_POINTS, None
        for one in judged:
            if one["column"] != column:
                column = one["column"]
                axes.text(MARGIN_POINTS, top, _short(one["title"], 40), va="top", weight=700)
                top += 0.72 * LINE_POINTS
            value = one["measures"][measure]
            x = left + (right - left) * (value - low) / span
            axes.text(MARGIN_POINTS, top, _short(one["value"], 24), va="top")
            axes.plot([middle, x], [top + 5, top + 5], color=UP if value >= whole else DOWN, linewidth=1.6)
            axes.plot([x], [top + 5], color=UP if value >= whole else DOWN, marker="o", markersize=5)
            axes.text(WIDTH_POINTS - MARGIN_POINTS, top, f"{value:.3f}", va="top", ha="right", color=FAINT)
            top += 0.72 * LINE_POINTS
        told = "; ".join(f"{one['column']}={one['value']} {one['measures'][measure]:g}" for one in judged)
        return _svg(figure, "slices", f"{report['measure']['title']} by slice",
                    f"The whole has {whole:g}. {told}.")  # fmt: skip


class _Waterfall:
    """One explained answer as steps (name, where it starts, value), the weaker features as one step."""

    def __init__(self, explanations: Mapping[str, Any], example: Mapping[str, Any]) -> None:
        base, values = explanations["base"], example["values"]
        self.steps: list[tuple[str, float, float]] = []
        at = base
        for entry in values[:STEPS_MAX]:
            title, name = (f"{entry[key]}: {_minus(entry['shown'])}" for key in ("title", "feature"))
            self.steps.append((_fitting(title, name), at, entry["value"]))
            at += entry["value"]
        if rest := values[STEPS_MAX:]:
            self.steps.append((f"the other {len(rest)} features", at, sum(entry["value"] for entry in rest)))
        self.ends = [base, *(start + value for _, start, value in self.steps)]
        self.headline = f"answer {_plain(example['answer'])}, actual {_minus(example['actual_shown'])}"
        self.way = f"row {example['row']:,}: from {_plain(base)} to {_plain(example['output'])}, {explanations['unit']}"
        steps = ", ".join(f"{name} {_signed(value)}" for name, _, value in self.steps)
        self.told = f"{self.headline}; {self.way}: {steps}."


@contextmanager
def _drawing() -> Iterator[None]:
    """Matplotlib's own defaults and fonts, whatever the user's configuration and the system's fonts are."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    known = {entry.name for entry in font_manager.fontManager.ttflist}
    if _FAMILY not in known:
        for weight, file_name in _FONTS:
            font_manager.fontManager.ttflist.append(
                font_manager.FontEntry(
                    fname=str(folder / file_name), name=_FAMILY, style="normal", variant="normal", weight=weight,
                    stretch="normal", size="scalable",
                )
            )  # fmt: skip
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def _sheet(height_points: float) -> tuple[Figure, Axes]:
    """A figure whose one axes counts in points from the top left."""
    figure = Figure(figsize=(WIDTH_POINTS / POINTS_AN_INCH, height_points / POINTS_AN_INCH))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH_POINTS)
    axes.set_ylim(height_points, 0)
    axes.set_axis_off()
    return figure, axes


def _label(axes: Axes, top: float, words: str, figure: str) -> None:
    axes.text(MARGIN_POINTS, top, _short(words, LABEL_CHARACTERS_MAX), va="top")
    axes.text(WIDTH_POINTS - MARGIN_POINTS, top, figure, va="top", ha="right", color=FAINT)


def _bar(axes: Axes, top: float, left: float, right: float, colour: str, *, track: bool = True) -> None:
    """Below the label that begins at `top`. left, right: shares of the width. track: which is shown, too."""
    width, y = WIDTH_POINTS - 2 * MARGIN_POINTS, top + 12
    if track:
        axes.add_patch(Rectangle((MARGIN_POINTS, y), width, BAR_POINTS, color=GRID, alpha=0.35, linewidth=0))
    axes.add_patch(
        Rectangle((MARGIN_POINTS + left * width, y), max(0.8, (right - left) * width), BAR_POINTS, color=colour,
                  linewidth=0)
    )  # fmt: skip


def _base_line(axes: Axes, top: float, share: float) -> None:
    """Across a bar, where every row begins: without it a bar's side could not be told. Not through the words."""
    x = MARGIN_POINTS + share * (WIDTH_POINTS - 2 * MARGIN_POINTS)
    axes.plot([x, x], [top + 10, top + 14 + BAR_POINTS], color=INK, linewidth=0.8)


def _plain(number: float) -> str:
    return f"{number:.3g}".replace("-", MINUS)


def _signed(number: float) -> str:
    return f"{number:+.3g}".replace("-", MINUS)


def _minus(words: str) -> str:
    """Words whose numbers below zero have the sign that the others have."""
    return re.sub(r"(?<!\S)-(?=[\d.])", MINUS, words)


def _fitting(*wordings: str) -> str:
    """The first that fits into a label, or the last, cut."""
    return next((words for words in wordings if len(words) <= LABEL_CHARACTERS_MAX), wordings[-1])


def _short(words: str, characters_max: int) -> str:
    return words if len(words) <= characters_max else words[: characters_max - 1].rstrip(" ,;:") + "…"


def _quantity(report: Mapping[str, Any]) -> str:
    label = report["label"]
    return f"{label['name']}, {label['unit']}" if label["unit"] else f"share of {label['classes'][label['positive']]}"


def _svg(figure: Figure, name: str, title: str, description: str) -> bytes:
    """The figure as one <svg> element, without a prologue, that stands alone or inside a page."""
    drawn = io.StringIO()
    figure.savefig(
        drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = drawn.getvalue()
    text = text[text.index("<svg ") :]
    # Ids are unique in a page, not only in a picture.
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    opened = f'<svg class="picture" role="img" aria-labelledby="{name}-title {name}-description" '
    titled = f'<title id="{name}-title">{escape(title)}</title>'
    told = f'<desc id="{name}-description">{escape(description)}</desc>'
    end = text.index(">") + 1
    return f"{opened}{text[5:end]}\n {titled}\n {told}\n {_STYLE}{text[end:]}".encode()


def _style(colours: Mapping[str, str]) -> str:
    """Dark ground by attribute: what knows no such rule, such as a viewer of pictures, draws the light colours."""
    rules = "".join(
        f'.picture [style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in colours.items()
        for kind in ("fill", "stroke")
    )
    light_ground = f".picture{{background:{GROUND}}}"
    dark_ground = f".picture{{background:{DARK_GROUND}}}"
    return f"<style>{light_ground}@media (prefers-color-scheme:dark){{{dark_ground}{rules}}}</style>"


_STYLE: Final = _style(DARK)
