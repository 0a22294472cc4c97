"""Tables of gates as lines of text, for a Refusal and for a terminal. Always: at most 120 columns wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from pipelines.evaluation.gates import Check, telling

PLACES_MAX: Final = 8
"""Of one gate: labels that were shuffled fail it in every slice, and that needs no hundred lines."""
_HEADINGS: Final = ("gate", "on", "rows", "measured", "bound", "off by")
_TEXTS: Final = 2
_PLACE_CHARS_MAX: Final = 48
_IN_FULL_FROM: Final = 10_000


def failed_lines(checks: Iterable[Check]) -> tuple[str, ...]:
    """Every gate that failed, with the places where it did, the worst first."""
    failed = [check for check, _ in telling(checks) if not check.passed]
    shown: list[tuple[str, ...]] = []
    for gate in dict.fromkeys(check.gate for check in failed):
        places = [check for check in failed if check.gate == gate]
        shown += [_row(check) for check in places[:PLACES_MAX]]
        if len(places) > PLACES_MAX:
            shown.append((gate, f"and {len(places) - PLACES_MAX} places more", "", "", "", ""))
    return aligned([_HEADINGS, *shown])


def all_lines(checks: Iterable[Check]) -> tuple[str, ...]:
    """Every gate by its worst place, passed or failed."""
    rows = []
    for check, places in telling(checks):
        rows.append((*_row(check)[:-1], "passed" if check.passed else "FAILED", f"{places}"))
    return aligned([(*_HEADINGS[:-1], "", "places"), *rows])


def aligned(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The rows with their columns under each other, the first two to the left and figures to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return tuple(
        "  ".join(
            cell.ljust(width) if column < _TEXTS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _row(check: Check) -> tuple[str, ...]:
    place = check.on if len(check.on) <= _PLACE_CHARS_MAX else check.on[: _PLACE_CHARS_MAX - 1] + "…"
    rows = f"{check.rows:,}" if check.rows else ""
    return check.gate, place, rows, _figure(check.measured), f"{check.sense} {_figure(check.bound)}", _figure(-check.by)


def _figure(value: float) -> str:
    """Bytes and nanoseconds in full, shares to four digits."""
    return f"{value:,.0f}" if abs(value) >= _IN_FULL_FROM else f"{value:.4g}"
