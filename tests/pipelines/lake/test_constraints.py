"""The rules of a table: each way in which records can be wrong is refused, by table, load and column."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from pipelines.lake.constraints import LOAD, Column, TableRules, check, check_freshness, check_new
from pipelines.refusal import Refusal
from tests.pipelines.lake.toys import RULES, SPRING, toys, with_value


def refusal(records: pa.Table, rules: TableRules = RULES) -> Refusal:
    with pytest.raises(Refusal) as caught:
        check(records, rules, "spring")
    assert "\n" not in str(caught.value)
    return caught.value


def test_good_records_pass_in_any_order_of_columns() -> None:
    check(toys(), RULES, "spring")
    check(toys().select(sorted(toys().column_names)), RULES, "spring")


def test_a_missing_column_is_refused_by_name() -> None:
    refused = refusal(toys().drop_columns(["size"]))
    assert refused.field == "toys.size (load spring)"
    assert (refused.expected, refused.got) == ("a column", "no such column")


def test_a_renamed_column_is_refused_with_the_name_that_it_seems_to_have_now() -> None:
    records = toys().rename_columns([name.replace("sold_at", "SoldAt") for name in toys().column_names])
    refused = refusal(records)
    assert refused.field == "toys.sold_at (load spring)"
    assert "'SoldAt'" in refused.got
    assert "If SoldAt is sold_at renamed" in refused.hint
    assert any("toys.SoldAt (load spring)" in line and "an unknown one" in line for line in refused.table)


def test_an_extra_column_is_refused_by_name() -> None:
    assert refusal(toys().append_column("colour", toys()["tag"])).field == "toys.colour (load spring)"


def test_a_column_that_is_there_twice_is_refused() -> None:
    refused = refusal(toys().append_column("size", toys()["size"]))
    assert (refused.field, refused.got) == ("toys.size (load spring)", "2")


def test_another_type_is_refused_with_values_that_show_it() -> None:
    sizes = pa.array([str(value) for value in toys()["size"].to_pylist()])
    refused = refusal(toys().set_column(toys().column_names.index("size"), "size", sizes))
    assert refused.expected == "integer (int64)"
    assert refused.got == "string such as '1', '2', '3'"


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("id", -1, "integers 0.."),
        ("price", -0.5, "finite numbers 0..100"),
        ("price", 100.5, "finite numbers 0..100"),
        ("price", float("nan"), "finite numbers 0..100"),
        ("price", float("inf"), "finite numbers 0..100"),
        ("size", 4, "one of 1, 2, 3"),
        ("shop", "", "one of north, o'south"),
        ("tag", "abcde", "texts like [a-z]{1,4}"),
        ("tag", "ab\n", "texts like [a-z]{1,4}"),
        ("tag", "", "texts like [a-z]{1,4}"),
    ],
)
def test_a_value_outside_the_rules_is_refused_with_its_column_value_and_row(
    column: str, value: Any, expected: str
) -> None:
    records = with_value(toys(), column, 3, value)
    refused = refusal(records)
    assert refused.field == f"toys.{column} (load spring)"
    assert refused.expected == expected
    assert refused.got.startswith(f"1 of 6 rows with {value!r}, first at id={-1 if column == 'id' else 3} shop=")
    assert "the rules of table toys in its source.py" in refused.hint


@pytest.mark.parametrize(("column", "value"), [("price", 0.0), ("price", 100.0), ("id", 0), ("tag", "a")])
def test_a_value_on_the_edge_of_the_rules_passes(column: str, value: Any) -> None:
    check(with_value(toys(first=1), column, 3, value), RULES, "spring")


def test_all_rows_are_counted_and_the_first_values_shown() -> None:
    refused = refusal(toys(rows=1000, size=[7, 8, 9, 10] * 250))
    assert refused.got.startswith("1,000 of 1,000 rows with 7, 8, 9, ..., first at id=0 shop=")


def test_labels_that_are_missing_are_refused_with_how_many() -> None:
    records = with_value(with_value(toys(), "broke", 1, None), "broke", 4, None)
    refused = refusal(records)
    assert refused.field == "toys.broke (load spring)"
    assert refused.expected == "a value in every row"
    assert refused.got.startswith("2 of 6 rows with null")


def test_nulls_pass_only_where_they_may_be() -> None:
    check(toys(price=[None] * 6, tag=[None] * 6), RULES, "spring")
    for column in RULES.columns:
        if not column.nullable:
            assert refusal(with_value(toys(), column.name, 0, None)).field == f"toys.{column.name} (load spring)"


def test_keys_that_several_rows_have_are_refused() -> None:
    refused = refusal(pa.concat_tables([toys(), toys(first=2, rows=2)]))
    assert refused.field == "toys.id,shop (load spring)"
    assert refused.got == "2 keys of several rows: id=2 shop=\"o'south\"; id=3 shop='north'"


def test_half_of_a_key_may_be_there_twice() -> None:
    check(pa.concat_tables([toys(rows=1, shop=["north"]), toys(rows=1, shop=["o'south"])]), RULES, "spring")


def test_everything_that_is_wrong_is_listed() -> None:
    refused = refusal(with_value(with_value(toys(), "size", 0, 9), "broke", 1, 5))
    assert refused.field == "toys.size (load spring)"
    assert len(refused.table) == 1
    assert refused.table[0].startswith("toys.broke (load spring): expected one of 0, 1, got 1 of 6 rows with 5")


def test_a_load_without_rows_is_refused() -> None:
    refused = refusal(toys(rows=0))
    assert (refused.field, refused.got) == ("toys (load spring)", "none")


def test_a_value_cannot_break_the_message() -> None:
    refused = refusal(with_value(toys(), "tag", 0, "\x1b[2J\n" + "x" * 500))
    assert "\x1b" not in str(refused)
    assert len(str(refused)) < 500


def test_keys_that_the_table_has_are_refused_with_the_load_that_brought_them() -> None:
    known = toys(rows=4).select(["id", "shop"]).append_column(LOAD, pa.array(["winter"] * 4))
    check_new(toys(first=4), RULES, "spring", known)
    with pytest.raises(Refusal, match=r"toys\.id,shop \(load spring\): .*got 2 that load winter has: id=2 shop="):
        check_new(toys(first=2), RULES, "spring", known)


def test_records_may_be_as_old_as_allowed_and_no_older() -> None:
    newest = SPRING + timedelta(hours=5)
    check_freshness(toys(), RULES, 30, newest + timedelta(days=30))
    with pytest.raises(Refusal, match=r"toys\.sold_at: expected the newest event at most 30 days old, got 2024-03-01"):
        check_freshness(toys(), RULES, 30, newest + timedelta(days=30, seconds=1))


def test_an_event_that_is_yet_to_come_is_refused() -> None:
    with pytest.raises(Refusal, match=r"toys\.sold_at: expected events until 2024-03-01 13:00 UTC, got one of .*17:00"):
        check_freshness(toys(), RULES, 30, SPRING + timedelta(hours=1))


def test_a_year_counts_as_its_end_for_freshness() -> None:
    rules = TableRules("years", (Column("year", "integer"),), ("year",), event_time="year")
    records = pa.table({"year": [2017, 2018]})
    check_freshness(records, rules, 10, datetime(2018, 5, 1, tzinfo=UTC))
    check_freshness(records, rules, 10, datetime(2019, 1, 11, tzinfo=UTC))
    with pytest.raises(Refusal, match=r"years\.year: expected the newest event at most 10 days old"):
        check_freshness(records, rules, 10, datetime(2019, 1, 12, tzinfo=UTC))


def test_freshness_of_a_table_without_times_is_refused() -> None:
    rules = TableRules("plain", (Column("id", "integer"),), ("id",))
    with pytest.raises(Refusal, match=r"snapshot\.freshness_days_max: expected an event time in table plain"):
        check_freshness(pa.table({"id": [1]}), rules, 10, SPRING)


def test_a_declaration_that_cannot_hold_is_no_declaration() -> None:
    with pytest.raises(AssertionError):
        Column("a", "text", low=1)
    with pytest.raises(AssertionError):
        Column("a", "integer", pattern="x")
    with pytest.raises(AssertionError):
        Column(LOAD, "text")
    with pytest.raises(AssertionError):
        TableRules("a", (Column("a", "integer", nullable=True),), ("a",))
