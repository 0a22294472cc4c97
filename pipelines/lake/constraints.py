"""Constraints: what the rows of a table may hold, declared once, checked whole before a load becomes a version.

An example's `source.py` declares the rules of its tables; `table.py` checks by them and makes Delta hold what Delta can
say. Always: a check looks at every row, changes none, and its refusal names table, load, column and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.refusal import Refusal

Type = Literal["integer", "number", "text", "time"]
ARROW_TYPES: Final[dict[Type, pa.DataType]] = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "time": pa.timestamp("us", tz="UTC"),
}
LOAD: Final = "load"
"""The column that a table adds to its rules': the load that each row came with."""
SHOWN = 3
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Column:
    """low, high: least and greatest integer or number. codes: all that may stand there, () for no such list.

    pattern: RE2, for a whole text. A number is finite: what is missing is null, and only where `nullable`.
    """

    name: str
    type: Type
    low: float | None = None
    high: float | None = None
    codes: tuple[int, ...] | tuple[str, ...] = ()
    pattern: str | None = None
    nullable: bool = False

    def __post_init__(self) -> None:
        assert self.name != LOAD, "the table's own column"
        assert self.type in ("integer", "number") or (self.low is None and self.high is None), "nothing to compare"
        assert self.type == "text" or self.pattern is None, "a pattern is a text's"
        assert self.type in ("integer", "text") or not self.codes, "codes are integers or texts"

    @property
    def field(self) -> pa.Field:
        return pa.field(self.name, ARROW_TYPES[self.type], self.nullable)

    def sql(self) -> str | None:
        """As a Delta CHECK constraint; None where there is nothing that Delta could check but type and nulls."""
        name = f"`{self.name}`"
        if self.codes:
            rule = f"{name} IN ({', '.join(_literal(code) for code in self.codes)})"
        else:
            sides = ((">=", self.low), ("<=", self.high))
            rule = " AND ".join(f"{name} {sign} {bound}" for sign, bound in sides if bound is not None)
        if not rule:
            return None
        return f"{name} IS NULL OR ({rule})" if self.nullable else rule

    def expected(self) -> str:
        if self.codes:
            return f"one of {_listed([str(code) for code in self.codes], 30)}"
        if self.pattern is not None:
            return f"texts like {self.pattern}"
        low, high = ("" if bound is None else f"{bound:,}" for bound in (self.low, self.high))
        kind = "finite numbers" if self.type == "number" else "integers"
        return f"{kind} {low}..{high}" if low or high else kind


@dataclass(frozen=True)
class TableRules:
    """What a table holds. keys: columns that together name a row, once in the whole table.

    event_time: the column that says when it happened: a time, or an integer year, which then counts as its end.
    loads: those that the source gives, in their order; () where only asking it tells. package: of locks/data.lock,
    that the rows come from; None where they come from elsewhere.
    """

    name: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    event_time: str | None = None
    loads: tuple[str, ...] = ()
    package: str | None = None

    def __post_init__(self) -> None:
        required = {column.name for column in self.columns if not column.nullable}
        assert self.keys, "rows are told apart by their key"
        assert set(self.keys) <= required, "a key is never null"
        assert self.event_time is None or self.event_time in {column.name for column in self.columns}

    @property
    def schema(self) -> pa.Schema:
        """Of a load's records."""
        return pa.schema([column.field for column in self.columns])


def check(records: pa.Table, rules: TableRules, load: str) -> None:
    """Everything that a load's records can be wrong in by themselves. Raises Refusal for the first, listing the rest.

    records: the columns of `rules` in any order. load: its name, for the message.
    """
    place = _Place(rules, load, records)
    findings = list(_of_columns(place)) or list(_of_types(place))
    if not findings and not records.num_rows:
        findings = [place.finding("", "records", "none", "Look whether the source is complete, then run this again.")]
    if not findings:
        findings = [*_of_values(place), *_repeated(place)]
    _raise(findings)


def check_new(records: pa.Table, rules: TableRules, load: str, known: pa.Table) -> None:
    """That no key of the records is in the table already. known: the table's keys and `load`. Raises Refusal."""
    place = _Place(rules, load, records)
    twice = records.select(list(rules.keys)).join(known, list(rules.keys), join_type="inner")
    if twice.num_rows:
        twice = twice.sort_by([(key, "ascending") for key in rules.keys])
        got = f"{twice.num_rows:,} that load {twice[LOAD][0].as_py()} has: {place.keys_of(twice)}"
        hint = "Leave out what was loaded before; a correction is a row with a key of its own."
        _raise([place.finding(",".join(rules.keys), "keys that are new to the table", got, hint)])


def check_freshness(records: pa.Table, rules: TableRules, days_max: int, now: datetime) -> None:
    """That the newest event is at most `days_max` days before `now`, and not after it. Raises Refusal."""
    if rules.event_time is None:
        raise Refusal(
            "snapshot.freshness_days_max", expected=f"an event time in table {rules.name}", got="none",
            hint="Name its event_time in the example's source.py, or drop the parameter.",
        )  # fmt: skip
    begun, ended = _newest(records[rules.event_time])
    field = f"{rules.name}.{rules.event_time}"
    if begun > now:
        raise Refusal(
            field, expected=f"events until {now:%Y-%m-%d %H:%M} UTC", got=f"one of {begun:%Y-%m-%d %H:%M}",
            hint="Check the source's time zone and unit, and this machine's clock.",
        )  # fmt: skip
    if now - ended > timedelta(days=days_max):
        raise Refusal(
            field, expected=f"the newest event at most {days_max} days old",
            got=f"{ended:%Y-%m-%d}, {(now - ended).days:,} days old",
            hint="Load newer records, or raise snapshot.freshness_days_max.",
        )  # fmt: skip


@dataclass(frozen=True)
class _Place:
    """Where something is wrong, and how to say so."""

    rules: TableRules
    load: str
    records: pa.Table

    def finding(self, column: str, expected: str, got: str, hint: str = "") -> Refusal:
        where = f"{self.rules.name}.{column}" if column else self.rules.name
        right = f"Correct the records, or, if they are right, the rules of table {self.rules.name} in its source.py."
        return Refusal(f"{where} (load {self.load})", expected=expected, got=got, hint=hint or right)

    def of_rows(self, column: str, expected: str, bad: pa.ChunkedArray, hint: str = "") -> Refusal | None:
        """bad: bool of each row, null for no."""
        rows = pc.indices_nonzero(bad)
        if not len(rows):
            return None
        first = self.records.take(rows[:1000])
        values = _listed(list(dict.fromkeys(_shown(value) for value in first[column].to_pylist())), SHOWN)
        got = f"{len(rows):,} of {self.records.num_rows:,} rows with {values}, first at {self.keys_of(first, 1)}"
        return self.finding(column, expected, got, hint)

    def keys_of(self, rows: pa.Table, shown: int = SHOWN) -> str:
        keys = list(self.rules.keys)
        first = rows.select(keys).slice(0, shown).to_pylist()
        return "; ".join(" ".join(f"{key}={_shown(row[key])}" for key in keys) for row in first)


def _of_columns(place: _Place) -> Iterable[Refusal]:
    expected, got = place.rules.schema.names, place.records.schema.names
    missing = [name for name in expected if name not in got]
    extra = [name for name in got if name not in expected]
    for name in missing:
        renamed = _closest(name, extra)
        found = f"no such column, but {renamed!r}, which is unknown" if renamed else "no such column"
        hint = f"If {renamed} is {name} renamed, rename it back in the source." if renamed else ""
        yield place.finding(name, "a column", found, hint)
    for name in extra:
        yield place.finding(name, f"the columns {', '.join(expected)}", "an unknown one", "Drop it or declare it.")
    for name in sorted({name for name in got if got.count(name) > 1}):
        yield place.finding(name, "one column of that name", f"{got.count(name)}", "Drop all but one in the source.")


def _of_types(place: _Place) -> Iterable[Refusal]:
    for column in place.rules.columns:
        values = place.records[column.name]
        if values.type != column.field.type:
            seen = _listed([_shown(value) for value in values.drop_null().slice(0, SHOWN).to_pylist()], SHOWN)
            got = f"{values.type}" + (f" such as {seen}" if seen else "")
            yield place.finding(column.name, f"{column.type} ({column.field.type})", got, "Convert it in the source.")


def _of_values(place: _Place) -> Iterable[Refusal]:
    for column in place.rules.columns:
        values = place.records[column.name]
        if values.null_count and not column.nullable:
            hint = "Load them when they are complete, or leave rows without it out in the source."
            yield from _some(place.of_rows(column.name, "a value in every row", pc.is_null(values), hint))
        yield from _some(place.of_rows(column.name, column.expected(), _outside(values, column)))


def _outside(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    """bool of each row: whether it breaks the column's rule, null where it has no value; none where all may stand."""
    if column.codes:
        known = pc.is_in(values, value_set=pa.array(column.codes, column.field.type))
        return pc.and_(pc.is_valid(values), pc.invert(known))
    if column.pattern is not None:
        return pc.invert(pc.match_substring_regex(values, rf"\A(?:{column.pattern})\z"))
    if column.type in ("text", "time"):
        return pa.chunked_array([], pa.bool_())
    bad = pc.invert(pc.is_finite(values))
    if column.low is not None:
        bad = pc.or_(bad, pc.less(values, pa.scalar(column.low, values.type)))
    if column.high is not None:
        bad = pc.or_(bad, pc.greater(values, pa.scalar(column.high, values.type)))
    return bad


def _repeated(place: _Place) -> Iterable[Refusal]:
    keys = list(place.rules.keys)
    counts = place.records.group_by(keys).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1)).sort_by([(key, "ascending") for key in keys])
    if twice.num_rows:
        got = f"{twice.num_rows:,} keys of several rows: {place.keys_of(twice)}"
        hint = "Drop the repeated rows in the source."
        yield place.finding(",".join(keys), "a key of its own for each row", got, hint)


def _newest(values: pa.ChunkedArray) -> tuple[datetime, datetime]:
    """When the newest event began and ended; a year takes a while."""
    newest: Any = pc.max(values).as_py()
    if isinstance(newest, int):
        return datetime(newest, 1, 1, tzinfo=UTC), datetime(newest + 1, 1, 1, tzinfo=UTC)
    assert isinstance(newest, datetime), "checked tables have rows, and an event time is a time or a year"
    return newest, newest


def _raise(findings: Sequence[Refusal]) -> None:
    if findings:
        first, *others = findings
        raise Refusal(
            first.field, expected=first.expected, got=first.got, hint=first.hint,
            table=tuple(str(other) for other in others),
        )  # fmt: skip


def _some(finding: Refusal | None) -> list[Refusal]:
    return [] if finding is None else [finding]


def _closest(name: str, names: Sequence[str]) -> str | None:
    lower = {other.lower(): other for other in names}
    close = get_close_matches(name.lower(), lower, 1, 0.6)
    return lower[close[0]] if close else None


def _literal(code: int | str) -> str:
    return str(code) if isinstance(code, int) else "'" + code.replace("'", "''") + "'"


def _shown(value: object) -> str:
    if value is None:
        return "null"
    text = value.isoformat() if isinstance(value, datetime) else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def _listed(texts: Sequence[str], shown: int) -> str:
    return ", ".join(texts[:shown]) + (", ..." if len(texts) > shown else "")
