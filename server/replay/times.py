"""When rows came: by a column of theirs, or by a made-up even clock where they have none. Pure.

Used by `reading`. Always: microseconds since 1970 in UTC, never one before the other; a clock that goes back is refused
by file, column and row, since a window that was judged can't be judged again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from registry_client.baseline.parquet import Cells
from registry_client.baseline.rows import what_of
from registry_client.errors import BadDocument

Times = npt.NDArray[np.int64]

US_PER_S: Final = 1_000_000
NS_PER_US: Final = 1000
LATEST_US: Final = 9_000_000_000 * US_PER_S  # in 2255: beyond 2262 nanoseconds do not fit into an int64
UNSORTED_US_MAX: Final = 900 * US_PER_S
"""Rows that lie back by at most so much are out of order. By more, it is the clock: summer time turns it by an hour."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class EvenClock:
    """A made-up clock: row after row at the same pace. start_us: of the first. rows_per_s: above 0."""

    start_us: int
    rows_per_s: float

    def times(self, first_row: int, rows: int) -> Times:
        """int64[rows], of the rows from `first_row` on, counted over all files. Raises BadDocument beyond LATEST_US."""
        seconds = np.arange(first_row, first_row + rows) / self.rows_per_s
        if self.start_us / US_PER_S + float(seconds[-1]) > LATEST_US / US_PER_S:
            raise BadDocument(
                "--rows-per-second", expected=f"a pace that ends before {utc_text(LATEST_US)[:4]}",
                got=f"{self.rows_per_s:g}", hint="Give more rows a second.",
            )  # fmt: skip
        return self.start_us + np.floor(seconds * US_PER_S).astype(np.int64)


class ColumnClock:
    """Of one file, whose column says when. Call `times` for each piece, in the file's order."""

    def __init__(self, path: Path, column: str) -> None:
        self._what = what_of(path, column)
        self._last_us = 0

    def times(self, cells: Cells, first_row: int) -> Times:
        """int64[n]. Raises BadDocument, naming the row, where one has no time or goes back."""
        found = np.asarray(cells.values, dtype=np.int64)
        if cells.present is not None and not cells.present.all():
            row = int(np.argmin(cells.present))
            raise self._refusal(first_row + row, "a time", "none", "Leave such rows out of the file.")
        strange = (found < 0) | (found > LATEST_US)
        if strange.any():
            row = int(np.argmax(strange))
            expected = f"a time from 1970 to {utc_text(LATEST_US)[:4]}"
            raise self._refusal(first_row + row, expected, utc_text(int(found[row])), "Correct it.")
        before = np.concatenate([[self._last_us], found[:-1]])
        back = found < before
        if back.any():
            row = int(np.argmax(back))
            raise self._went_back(first_row + row, int(before[row]), int(found[row]))
        self._last_us = int(found[-1])
        return found

    def _went_back(self, row: int, before_us: int, got_us: int) -> BadDocument:
        expected = f"{utc_text(before_us)} or later, as in the row before"
        if before_us - got_us <= UNSORTED_US_MAX:
            return self._refusal(row, expected, utc_text(got_us), "Sort the file by this column.")
        hours = (before_us - got_us) / US_PER_S / 3600
        return self._refusal(
            row, expected, f"{utc_text(got_us)}, {hours:,.1f} h earlier",
            "The clock went back: write times in UTC, which no summer time turns, and sort the file by this column.",
        )  # fmt: skip

    def _refusal(self, row: int, expected: str, got: str, hint: str) -> BadDocument:
        return BadDocument(f"{self._what}, row {row}", expected=expected, got=got, hint=hint)


def utc_text(at_us: int) -> str:
    """As people write it, to the second; a number where the calendar has none."""
    try:
        return f"{EPOCH + timedelta(microseconds=at_us):%Y-%m-%d %H:%M:%S}"
    except OverflowError:
        return f"{at_us} us"


def parse_utc(text: str, option: str) -> int:
    """Microseconds since 1970 of a date or time in ISO 8601, in UTC where it names no zone. Raises BadDocument."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BadDocument(
            option, expected="a date or a time in UTC, like 2026-11-01 or 2026-11-01T06:00", got=repr(text[:40]),
            hint="Correct it.",
        ) from None  # fmt: skip
    at_us = (found.replace(tzinfo=found.tzinfo or UTC) - EPOCH) // timedelta(microseconds=1)
    if not 0 <= at_us <= LATEST_US:
        raise BadDocument(
            option, expected=f"1970 to {utc_text(LATEST_US)[:4]}", got=repr(text[:40]), hint="Choose another."
        )
    return at_us
