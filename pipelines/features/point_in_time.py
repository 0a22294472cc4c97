"""Point-in-time joins: what was known at a moment, and nothing that came later.

For features that stand in another table than the record. A row of that table tells of an event, could be known from
some moment on, and may be corrected by a later row of the same event. Always: a result depends on nothing that was
known after the moment asked about, so that training sees what a caller would have seen, late and wrong as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipelines.refusal import Refusal

NONE: Final = -1
"""In place of a row's position, where nothing was known."""

Positions = npt.NDArray[np.int64]
Instants = npt.NDArray[np.int64]


def as_of(
    left: pd.DataFrame,
    right: pd.DataFrame,
    *,
    by: Sequence[str],
    left_time: str,
    event_time: str,
    known_at: str,
    tolerance: pd.Timedelta,
) -> Positions:
    """By row of left the position of right's row that was the newest known, int64[rows of left], or NONE.

    Of right's rows with the same `by`, those count that were known (known_at <= left_time), tell of no future
    (event_time <= left_time) and are no older than the tolerance (event_time >= left_time - tolerance). Of these it is
    the newest event, and of that its newest correction. Raises Refusal where a key or a time is missing, and where two
    rows of one event were known at the same moment, so that neither corrects the other.
    """
    at, events, known = _instants(left, left_time), _instants(right, event_time), _instants(right, known_at)
    left_keys, right_keys = _keys(left, right, by)
    order = np.lexsort((known, events, right_keys))
    _refuse_ambiguous(right, order, [right_keys, events, known], (*by, event_time, known_at))
    # Ranks grow by key, event and knowledge; a row counts from when both have happened.
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    counts_from = np.maximum(events, known)
    arrival = np.lexsort((counts_from, right_keys))
    # The best so far. Never one of another key: all ranks of a key lie above those of the keys before it.
    best = np.maximum.accumulate(rank[arrival])
    place = _last_until(left_keys, at, right_keys[arrival], counts_from[arrival])
    positions = np.full(len(left), NONE, dtype=np.int64)
    found = place != NONE
    positions[found] = order[best[place[found]]]
    found[found] = events[positions[found]] >= at[found] - _ticks(tolerance)
    positions[~found] = NONE
    return positions


def values_at(column: pd.Series, positions: Positions) -> npt.NDArray[np.float64]:
    """float64[rows]: the column's values there; NaN where it is NONE or the value itself is missing."""
    values = column.to_numpy(np.float64, na_value=np.nan)
    if not len(values):
        return np.full(len(positions), np.nan)
    return np.where(positions == NONE, np.nan, values[positions])


def window_mean(
    left: pd.DataFrame,
    right: pd.DataFrame,
    *,
    by: Sequence[str],
    left_time: str,
    known_at: str,
    value: str,
    window: pd.Timedelta,
) -> npt.NDArray[np.float64]:
    """By row of left the mean of `value` over right's rows that became known in the window before, float64[rows].

    These are right's rows with the same `by` and left_time - window < known_at <= left_time; NaN where there are none.
    The values are whole numbers, of which sums are exact in any order. Raises Refusal where a key, a time or a value is
    missing or a value is no whole number.
    """
    at, known = _instants(left, left_time), _instants(right, known_at)
    left_keys, right_keys = _keys(left, right, by)
    values = right[value].to_numpy(np.float64, na_value=np.nan)
    if not (values == np.floor(values)).all() or np.isinf(values).any():
        raise _refusal(value, "whole numbers", "others", "Leave out rows without one, and round.")
    order = np.lexsort((known, right_keys))
    sums = np.concatenate([[0.0], np.cumsum(values[order])])
    keys, known = right_keys[order], known[order]
    # Of the key's rows: those until now less those until the window began.
    last = _last_until(left_keys, at, keys, known)
    before = _last_until(left_keys, at - _ticks(window), keys, known)
    first_of_key = np.searchsorted(keys, left_keys, side="left")
    stop = np.where(last == NONE, first_of_key, last + 1)
    start = np.where(before == NONE, first_of_key, before + 1)
    count = stop - start
    means = np.full(len(left), np.nan)
    np.divide(sums[stop] - sums[start], count, out=means, where=count > 0)
    return means


def _last_until(keys: Positions, at: Instants, sorted_keys: Positions, sorted_times: Instants) -> Positions:
    """By (key, time) the last position among the sorted of that key with a time no later, or NONE."""
    if not len(sorted_keys):
        return np.full(len(keys), NONE, dtype=np.int64)
    # Both as one number: a key's times are where the key's own begin.
    moments = np.unique(sorted_times)
    combined = sorted_keys * (len(moments) + 1) + np.searchsorted(moments, sorted_times, side="right")
    asked = keys * (len(moments) + 1) + np.searchsorted(moments, at, side="right")
    place = np.searchsorted(combined, asked, side="right") - 1
    same = (place >= 0) & (sorted_keys[place] == keys)
    return np.where(same, place, NONE)


def _keys(left: pd.DataFrame, right: pd.DataFrame, by: Sequence[str]) -> tuple[Positions, Positions]:
    """Numbers for the values of `by`, the same in both."""
    numbers = np.zeros(len(left) + len(right), dtype=np.int64)
    for name in by:
        for frame in (left, right):
            if frame[name].isna().any():
                raise _refusal(name, "a key in every row", "rows without one", "Leave them out before the join.")
        codes, found = pd.factorize(pd.concat([left[name], right[name]], ignore_index=True))
        # Numbered anew after each column: a product of many would leave 64 bits.
        numbers, _ = pd.factorize(numbers * len(found) + codes)
    return numbers[: len(left)], numbers[len(left) :]


def _instants(frame: pd.DataFrame, name: str) -> Instants:
    """Microseconds since 1970 UTC. A time without a zone could be anybody's, and is refused."""
    column = frame[name]
    if not isinstance(column.dtype, pd.DatetimeTZDtype):
        raise _refusal(name, "times with a time zone", f"{column.dtype}", "Say which with dt.tz_localize.")
    if column.isna().any():
        raise _refusal(name, "a time in every row", "rows without one", "Leave them out before the join.")
    instants: Instants = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]").view(np.int64)
    return instants


def _ticks(span: pd.Timedelta) -> int:
    ticks = int(span // pd.Timedelta(1, "us"))
    if ticks < 0:
        raise _refusal("span of time", "none below zero", f"{span}", "It counts back from the moment asked about.")
    return ticks


def _refuse_ambiguous(
    right: pd.DataFrame, order: Positions, columns: Sequence[npt.NDArray[Any]], names: Sequence[str]
) -> None:
    same = np.logical_and.reduce([column[order][1:] == column[order][:-1] for column in columns])
    if same.any():
        row = right.iloc[int(order[1:][same][0])]
        got = ", ".join(f"{name} {row[name]}" for name in names)
        raise _refusal(names[-1], "corrections known at different moments", f"two rows of {got}", "Keep one of them.")


def _refusal(name: str, expected: str, got: str, hint: str) -> Refusal:
    return Refusal(name, expected=expected, got=got[:200], hint=hint)
