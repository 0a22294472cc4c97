"""Files as one stream of rows: their clock, their order, their keys, and what is refused of them."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry_client.errors import BadDocument
from server.replay.files import Choices, Opened, open_files, paths_of
from server.replay.subject import Subject
from server.replay.times import EvenClock, parse_utc
from server.worker.counting import bucket_of_call
from server.worker.routing import Routed, hash_of
from tests.replay.made import DAY_US, FACTOR, HOUR_US, MONDAY_US, SECOND_US, file_in, normal, subject, times


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(tmp_path_factory.mktemp("files"), normal(2_000, 1), bins=4)


def opened(known: Subject, *paths: Path, **choices: object) -> Opened:
    return open_files(known, paths, Choices(**{"time": "at", **choices}))  # type: ignore[arg-type]


def refusal(known: Subject, *paths: Path, **choices: object) -> str:
    with pytest.raises(BadDocument) as refused:
        list(opened(known, *paths, **choices).in_order())
    return str(refused.value)


def test_rows_come_with_what_went_in_and_what_the_model_makes_of_it(known: Subject, tmp_path: Path) -> None:
    x = normal(5, 1)
    (rows,) = opened(known, file_in(tmp_path, x, at=times(5))).in_order()
    assert rows.times_us is not None
    assert rows.times_us.tolist() == [MONDAY_US + number * SECOND_US for number in range(5)]
    np.testing.assert_array_equal(rows.arrays["x"], x)
    np.testing.assert_array_equal(rows.arrays["y"], x * np.float32(FACTOR))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_a_time_is_the_same_moment_in_every_unit_and_zone(
    known: Subject, tmp_path: Path, unit: str, zone: str | None
) -> None:
    at = times(3).cast(pa.timestamp("us")).cast(pa.timestamp(unit))
    path = file_in(tmp_path, normal(3, 1), at=at.cast(pa.timestamp(unit, zone)) if zone else at)
    (rows,) = opened(known, path).in_order()
    assert rows.times_us is not None
    assert rows.times_us.tolist() == [MONDAY_US + number * SECOND_US for number in range(3)]


def test_a_date_is_the_beginning_of_its_day(known: Subject, tmp_path: Path) -> None:
    path = file_in(tmp_path, normal(2, 1), at=[datetime.date(2026, 9, 28), datetime.date(2026, 9, 29)])
    (rows,) = opened(known, path).in_order()
    assert rows.times_us is not None
    assert rows.times_us.tolist() == [MONDAY_US, MONDAY_US + DAY_US]


# --- The clock ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("offsets_us", "expected"),
    [
        ([0, 10, 9], "row 2: expected 2026-09-28 00:00:10 or later, as in the row before, got 2026-09-28 00:00:09. "
         "Sort the file by this column."),
        ([0, 900, 0], "got 2026-09-28 00:00:00. Sort the file by this column."),
        ([0, 3600, 0], "got 2026-09-28 00:00:00, 1.0 h earlier. The clock went back: write times in UTC"),
        ([0, None, 1], "row 1: expected a time, got none. Leave such rows out of the file."),
    ],
)  # fmt: skip
def test_a_clock_that_does_not_go_on_is_refused_with_its_row(
    known: Subject, tmp_path: Path, offsets_us: list[int | None], expected: str
) -> None:
    moments = [None if one is None else MONDAY_US + one * SECOND_US for one in offsets_us]
    path = file_in(tmp_path, normal(3, 1), at=pa.array(moments, pa.timestamp("us")))
    found = refusal(known, path)
    assert found.startswith(f"{path}: column 'at', ")
    assert expected in found


@pytest.mark.parametrize("year", [1969, 9999])
def test_a_time_that_no_clock_has_is_refused(known: Subject, tmp_path: Path, year: int) -> None:
    path = file_in(tmp_path, normal(1, 1), at=[datetime.datetime(year, 6, 1)])
    assert "row 0: expected a time from 1970 to 2255, got " in refusal(known, path)


def test_a_step_back_from_one_piece_to_the_next_is_refused_too(known: Subject, tmp_path: Path) -> None:
    rows = 20_000
    moments = MONDAY_US + SECOND_US * np.arange(rows)
    moments[16_384] = moments[16_383] - 1
    path = file_in(tmp_path, normal(rows, 1), at=pa.array(moments, pa.timestamp("us")))
    assert "row 16384: expected" in refusal(known, path)


def test_rows_without_times_get_an_even_clock_over_all_files(known: Subject, tmp_path: Path) -> None:
    paths = [file_in(tmp_path, normal(3, seed), f"{seed}.parquet") for seed in (2, 1)]
    clock = EvenClock(parse_utc("2026-09-28", "--start"), 4.0)
    found = list(opened(known, *paths, time=None, even=clock).in_order())
    times_us = np.concatenate([rows.times_us for rows in found if rows.times_us is not None])
    assert times_us.tolist() == [MONDAY_US + 250_000 * number for number in range(6)]
    np.testing.assert_array_equal(found[0].arrays["x"], normal(3, 2))


def test_a_file_without_times_needs_a_clock(known: Subject, tmp_path: Path) -> None:
    path = file_in(tmp_path, normal(3, 1))
    assert refusal(known, path, time=None) == (
        f"--time: expected the column that says when each row came, got none, and {path} is no recording. "
        "Rows without times: --rows-per-second gives them a made-up clock."
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("2026-09-28", MONDAY_US), ("2026-09-28T01:00", MONDAY_US + HOUR_US), ("2026-09-28T02:00+02:00", MONDAY_US)],
)
def test_a_start_is_a_date_or_a_time_in_utc_unless_it_names_a_zone(text: str, wanted: int) -> None:
    assert parse_utc(text, "--start") == wanted


@pytest.mark.parametrize("text", ["", "now", "28.9.2026", "1969-12-31", "9999-01-01"])
def test_what_is_no_start_is_refused(text: str) -> None:
    with pytest.raises(BadDocument, match="--start: expected "):
        parse_utc(text, "--start")


# --- Several files --------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=12), min_size=1, max_size=4), st.randoms())
def test_files_in_any_order_are_one_stream_in_the_order_of_time(
    known: Subject, tmp_path_factory: pytest.TempPathFactory, offsets: list[list[int]], random: object
) -> None:
    folder = tmp_path_factory.mktemp("several")
    written = []
    for number, seconds in enumerate(offsets):
        moments = MONDAY_US + SECOND_US * np.sort(np.array(seconds, dtype=np.int64))
        x = np.full((len(seconds), 4), number, np.float32)
        x[:, 1] = np.arange(len(seconds))
        at = pa.array(moments, pa.timestamp("us"))
        written.append((file_in(folder, x, f"{number}.parquet", at=at), moments, x))
    paths = [path for path, _, _ in written]
    random.shuffle(paths)  # type: ignore[attr-defined]
    found = list(opened(known, *paths).in_order())
    times_us = np.concatenate([rows.times_us for rows in found if rows.times_us is not None])
    x = np.concatenate([rows.arrays["x"] for rows in found])
    assert (np.diff(times_us) >= 0).all()
    for number, (_, moments, own) in enumerate(written):
        mine = x[:, 0] == number
        np.testing.assert_array_equal(x[mine], own)
        np.testing.assert_array_equal(times_us[mine], moments)


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").touch()
    (tmp_path / "a.parquet").touch()
    (tmp_path / ".a.parquet.partial").touch()
    assert [path.name for path in paths_of([tmp_path])] == ["a.parquet", "b.parquet"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadDocument, match=r"expected a folder with \.parquet files, got none there"):
        paths_of([empty])


# --- Keys -----------------------------------------------------------------------------------------------------------
def served(key: str) -> int:
    return int(bucket_of_call(Routed(0, 0, 0, 1, 1, hash_of(key.encode())))[0])


@pytest.mark.parametrize("column", [["a", "é", "a", "12"], pa.array(["a", "é", "a", "12"]).dictionary_encode()])
def test_a_key_falls_into_the_bucket_that_the_server_puts_it_into(
    known: Subject, tmp_path: Path, column: object
) -> None:
    path = file_in(tmp_path, normal(4, 1), at=times(4), who=column)
    (rows,) = opened(known, path, key="who").in_order()
    assert rows.buckets.tolist() == [served(key) for key in ("a", "é", "a", "12")]


def test_whole_numbers_are_keys_as_their_decimals(known: Subject, tmp_path: Path) -> None:
    path = file_in(tmp_path, normal(3, 1), at=times(3), who=[12, -7, 12])
    (rows,) = opened(known, path, key="who").in_order()
    assert rows.buckets.tolist() == [served("12"), served("-7"), served("12")]


def test_rows_without_a_key_are_spread_and_those_with_one_are_not(known: Subject, tmp_path: Path) -> None:
    who = ["somebody", None, ""] * 400
    (rows,) = opened(known, file_in(tmp_path, normal(1200, 1), at=times(1200), who=who), key="who").in_order()
    assert set(rows.buckets[::3].tolist()) == {served("somebody")}
    keyless = np.bincount(np.concatenate([rows.buckets[1::3], rows.buckets[2::3]]), minlength=16)
    assert keyless.min() > 20, "of 50 on average"
    (spread,) = opened(known, file_in(tmp_path, normal(1600, 1), at=times(1600))).in_order()
    assert np.bincount(spread.buckets, minlength=16).min() > 60, "of 100 on average"


def test_a_column_that_is_no_key_is_refused(known: Subject, tmp_path: Path) -> None:
    path = file_in(tmp_path, normal(2, 1), at=times(2), who=[1.5, 2.5])
    assert "column 'who': expected text or whole numbers, for --key, got float64." in refusal(known, path, key="who")
    assert "column 'whom': expected the column, to be read beside, got none; there are " in refusal(
        known, path, key="whom"
    )


# --- What does not suit the model -----------------------------------------------------------------------------------
def test_missing_renamed_and_other_columns_are_refused_by_name(known: Subject, tmp_path: Path) -> None:
    whole = file_in(tmp_path, normal(2, 1), at=times(2))
    from pyarrow import parquet

    table = parquet.read_table(whole)
    for changed, expected in (
        (table.drop_columns(["age"]), "column 'age': expected the column, for input 'x' (FP32), got none; there are "),
        (table.rename_columns(["height", "weight", "years", "plan", "at"]), "column 'age': expected the column"),
        (table.set_column(2, "age", pa.array(["a", "b"])), "column 'age': expected numbers, for input 'x' (FP32)"),
        (table.set_column(4, "at", pa.array([1, 2])), "column 'at': expected times, for --time, got int64."),
        (table.slice(0, 0), "expected rows, got none."),
    ):
        path = tmp_path / "changed.parquet"
        parquet.write_table(changed, path)
        found = refusal(known, path)
        assert found.startswith(f"{path}")
        assert expected in found


def test_a_file_that_is_none_is_refused(known: Subject, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_text("height,weight\n1,2\n")
    assert refusal(known, path).startswith(f"{path}: expected a whole Parquet file, got ")


def test_a_mapping_says_which_columns_feed_the_model(known: Subject, tmp_path: Path) -> None:
    from pyarrow import parquet

    whole = parquet.read_table(file_in(tmp_path, normal(2, 1), at=times(2)))
    path = tmp_path / "renamed.parquet"
    parquet.write_table(whole.rename_columns(["a", "b", "c", "d", "at"]), path)
    (rows,) = opened(known, path, columns={"x": ("a", "b", "c", "d")}).in_order()
    np.testing.assert_array_equal(rows.arrays["x"], normal(2, 1))
