"""Point-in-time joins, slowly: for each row every other one is looked at, by the words of the module's contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def newest_known(
    left: Row, right: Sequence[Row], by: Sequence[str], at: str, event_time: str, known_at: str, tolerance: Any
) -> int | None:
    """The place of the row that was the newest known, or none."""
    found: int | None = None
    for place, row in enumerate(right):
        if any(row[name] != left[name] for name in by):
            continue
        if row[known_at] > left[at]:
            continue  # nobody could know it yet
        if row[event_time] > left[at]:
            continue  # of the future
        if row[event_time] < left[at] - tolerance:
            continue  # too old
        if found is None or (row[event_time], row[known_at]) > (right[found][event_time], right[found][known_at]):
            found = place
    return found


def mean_in_window(
    left: Row, right: Sequence[Row], by: Sequence[str], at: str, known_at: str, value: str, window: Any
) -> float | None:
    """The mean over rows that became known in the window, or none where none did."""
    values = [
        row[value]
        for row in right
        if all(row[name] == left[name] for name in by) and left[at] - window < row[known_at] <= left[at]
    ]
    return sum(values) / len(values) if values else None
