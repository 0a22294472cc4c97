"""Tables of what `drift_promises` found, one for each kind of question. Used by `benchmarks.calibrate`.

After a shift: median windows and rows until the alarm, windows until the detector alone has reached its threshold
(R >= A), and until the rule of thumb of 0.1 fires; in brackets what was promised at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.table import Table

from benchmarks.calibration.drift_promises import DriftAnswer, DriftAsked

NAME: Final = "streams"
RATES: Final = (DriftAsked.QUIET, DriftAsked.CONTROL, DriftAsked.SAME)
ROLLOUTS: Final = (DriftAsked.SAME, DriftAsked.MODEL)


def drift_tables(answers: Sequence[DriftAnswer]) -> list[Table]:
    shown = []
    for asked in DriftAsked:
        rows = [_cells(answer) for answer in answers if answer.question.asked is asked]
        if not rows:
            continue
        used = [column for column in rows[0] if any(row[column] for row in rows)]
        table = Table(title=asked.value, title_justify="left")
        for column in used:
            table.add_column(column, justify="left" if column == NAME else "right", no_wrap=column == NAME)
        for row in rows:
            table.add_row(*(row[column] for column in used))
        shown.append(table)
    return shown


def _cells(answer: DriftAnswer) -> dict[str, str]:
    asked = answer.question.asked
    rate, rollout = asked in RATES, asked in ROLLOUTS
    return {
        NAME: answer.question.name,
        "alarmed": f"{answer.alarmed:,} of {answer.streams:,}",
        "detector alone": f"{answer.detected:,}" if rate and not rollout else "",
        "promised at most": _number(answer.most),
        "windows": "" if rate or rollout else _promised(answer.median, answer.question.median_max),
        "rows": "" if rate else _promised(answer.rows, answer.question.median_max if rollout else None),
        "R >= A": "" if rate or rollout else _promised(answer.detector_median, answer.question.detector_max),
        "named wrongly": _wrong(answer) if asked is DriftAsked.FOUND else "",
        "rule of 0.1": _rule(answer),
        "rule of 0.2": _windows(answer.large_windows) if rate and not rollout else "",
        "promise": {None: "", True: "ok", False: "BROKEN"}[answer.kept],
    }


def _rule(answer: DriftAnswer) -> str:
    """Windows in which it fires while nothing moves; windows until it does after a shift."""
    if answer.question.asked in ROLLOUTS:
        return ""
    if answer.question.asked is DriftAsked.FOUND:
        return _or_never(answer.moderate_median)
    return _windows(answer.moderate_windows)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _or_never(value: int | None) -> str:
    return "never" if value is None else f"{value:,}"


def _promised(found: int | None, most: int | None) -> str:
    return _or_never(found) if most is None else f"{_or_never(found)} ({most:,})"


def _wrong(answer: DriftAnswer) -> str:
    named = sum(one.named for one in answer.became)
    wrongly = sum(one.named_wrongly for one in answer.became)
    return f"{wrongly:,} of {named:,}" if named else ""


def _windows(mean: float) -> str:
    """Windows of a quiet stream in which a rule of thumb fires."""
    return "0" if mean == 0 else f"{mean:,.1f}"
