"""The content digest: of rows alone, and of everything in them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lake.content_digest import content_digest, digest_of_ordered, in_order
from tests.pipelines.lake import row_digest_oracle as oracle

KEYS = ("key", "part")
TIMES = st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
WHOLES = st.integers(-(2**63), 2**63 - 1)
COLUMNS = {
    "whole": (pa.int64(), WHOLES),
    "number": (pa.float64(), st.floats()),
    "text": (pa.string(), st.text(max_size=5)),
    "time": (pa.timestamp("us", tz="UTC"), TIMES),
}


@st.composite
def tables(draw: st.DrawFn, rows_min: int = 0) -> pa.Table:
    keys = draw(st.lists(st.tuples(WHOLES, st.text(max_size=3)), unique=True, min_size=rows_min, max_size=12))
    columns: dict[str, Any] = {
        "key": pa.array([key for key, _ in keys], pa.int64()),
        "part": pa.array([part for _, part in keys], pa.string()),
    }
    for name, (kind, values) in COLUMNS.items():
        drawn = draw(st.lists(st.none() | values, min_size=len(keys), max_size=len(keys)))
        columns[name] = pa.array(drawn, kind)
    return pa.table(columns)


@settings(max_examples=50, deadline=None)
@given(tables())
def test_the_digest_is_the_one_that_the_text_describes(table: pa.Table) -> None:
    columns = {name: (str(table[name].type), table[name].to_pylist()) for name in table.column_names}
    assert content_digest(table, KEYS) == oracle.digest(columns, KEYS)


@settings(max_examples=40, deadline=None)
@given(tables(rows_min=1), st.randoms(use_true_random=False), st.integers(1, 5), st.sampled_from(["zstd", "none"]))
def test_rows_have_one_digest_in_whatever_order_layout_or_file(
    tmp_path_factory: pytest.TempPathFactory, table: pa.Table, random: Any, piece: int, compression: str
) -> None:
    rows = list(range(table.num_rows))
    names = list(table.column_names)
    random.shuffle(rows)
    random.shuffle(names)
    shuffled = table.take(rows).select(names)
    path = tmp_path_factory.mktemp("layout") / "rows.parquet"
    pq.write_table(shuffled, path, row_group_size=piece, compression=compression, use_dictionary=piece % 2 == 0)
    pieces = pa.concat_tables([shuffled.slice(first, piece) for first in range(0, len(rows), piece)])
    expected = content_digest(table, KEYS)
    assert content_digest(pieces, KEYS) == expected
    assert content_digest(pq.read_table(path), KEYS) == expected


@settings(max_examples=60, deadline=None)
@given(tables(rows_min=1), st.data())
def test_any_changed_value_gives_another_digest(table: pa.Table, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(COLUMNS)))
    row = data.draw(st.integers(0, table.num_rows - 1))
    values = table[name].to_pylist()
    other = data.draw(st.none() | COLUMNS[name][1])
    same = other == values[row] or (other != other and values[row] != values[row])
    values[row] = other
    changed = table.set_column(table.column_names.index(name), name, pa.array(values, table[name].type))
    assert (content_digest(changed, KEYS) == content_digest(table, KEYS)) == same


def of_texts(**columns: list[str | None]) -> str:
    count = len(next(iter(columns.values())))
    arrays = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    return content_digest(pa.table({"key": pa.array(range(count), pa.int64()), **arrays}), ("key",))


def test_null_empty_and_zero_are_three_things() -> None:
    texts = {of_texts(a=[None]), of_texts(a=[""]), of_texts(a=["0"])}
    wholes = {
        content_digest(pa.table({"a": pa.array([value], kind)}), ("a",))
        for value, kind in ((0, pa.int64()), (None, pa.int64()), (0.0, pa.float64()), (None, pa.string()))
    }
    assert len(texts) == 3
    assert len(wholes) == 4


def test_a_value_that_moves_to_the_next_row_or_column_gives_another_digest() -> None:
    digests = [
        of_texts(a=["x", ""], b=["", ""]),
        of_texts(a=["", "x"], b=["", ""]),
        of_texts(a=["", ""], b=["x", ""]),
        of_texts(a=["xy", "z"], b=["", ""]),
        of_texts(a=["x", "yz"], b=["", ""]),
        of_texts(b=["x", ""], c=["", ""]),
    ]
    assert len(set(digests)) == len(digests)


def test_rows_that_are_there_twice_count_twice_whatever_their_order() -> None:
    rows = pa.table({"key": [1, 1, 1], "b": ["x", "y", "x"]})
    assert content_digest(rows, ("key",)) == content_digest(rows.take([1, 2, 0]), ("key",))
    assert content_digest(rows, ("key",)) != content_digest(rows.slice(1), ("key",))


def test_a_part_of_ordered_rows_has_the_digest_that_it_has_by_itself() -> None:
    rows = pa.table({"key": np.random.default_rng(3).permutation(100), "odd": [row % 2 for row in range(100)]})
    odd = in_order(rows, ("key",)).filter(pa.compute.field("odd") == 1)
    assert digest_of_ordered(odd) == content_digest(rows.filter(pa.compute.field("odd") == 1), ("key",))


def test_a_type_that_has_no_tag_is_refused_by_its_columns_name() -> None:
    with pytest.raises(TypeError, match=r"small: expected .*int64.*, got int8"):
        content_digest(pa.table({"small": pa.array([1], pa.int8())}), ("small",))


def test_a_table_of_a_hundred_thousand_rows_takes_no_loop_over_rows(tmp_path: Path) -> None:
    import time

    count = 100_000
    numbers = np.random.default_rng(1).permutation(count)
    table = pa.table({"key": numbers, **{f"c{place}": numbers * place for place in range(10)}})
    started = time.process_time()
    content_digest(table, ("key",))
    # Measured: 0.06 s. A value at a time would take seconds.
    assert time.process_time() - started < 1.0
