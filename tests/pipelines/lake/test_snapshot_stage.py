"""The snapshot stage: what it freezes, what it does not do twice, and what it finds that was changed since."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.definition import Load
from pipelines.downloads import Pin
from pipelines.lake.constraints import LOAD
from pipelines.lake.content_digest import content_digest
from pipelines.lake.table import Table
from pipelines.refusal import Refusal
from pipelines.stages import snapshot
from pipelines.stages.snapshot import read_tables, run
from pipelines.work import Work
from tests.pipelines.lake.toys import (
    RULES,
    SPRING,
    Source,
    spring_and_summer,
    toys,
    with_fetch,
    with_value,
    work,
)


@pytest.fixture
def source() -> Source:
    return Source(spring_and_summer())


def document(of: Work) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((of.folder / "snapshot" / "snapshot.json").read_text())
    return found


def table_folder(of: Work) -> Path:
    return of.lake / "toys"


def test_a_snapshot_names_version_rows_and_digest_of_the_table_and_of_each_load(source: Source, tmp_path: Path) -> None:
    toy = work(tmp_path, source)
    told = run(toy)
    whole = pa.concat_tables(source.records.values())
    assert document(toy) == {
        "source": None,
        "rows_max": None,
        "tables": {
            "toys": {
                "version": 3,
                "rows": 10,
                "digest": content_digest(whole, RULES.keys),
                "loads": {
                    name: {"rows": records.num_rows, "digest": content_digest(records, RULES.keys)}
                    for name, records in source.records.items()
                },
            }
        },
    }
    assert told == f"toys version 3, 10 rows, digest {content_digest(whole, RULES.keys)[:12]}; 2 loads added"


def test_two_lakes_give_the_same_bytes(source: Source, tmp_path: Path) -> None:
    first, second = work(tmp_path / "one", source), work(tmp_path / "two", source)
    run(first)
    run(second)
    paths = [of.folder / "snapshot" / "snapshot.json" for of in (first, second)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_the_lake_has_is_not_fetched_again_even_for_another_folder(source: Source, tmp_path: Path) -> None:
    run(work(tmp_path, source))
    told = run(work(tmp_path / "elsewhere", source, lake=tmp_path / "lake"))
    assert source.asked == 1
    assert told.endswith("; nothing new")


def test_a_source_that_alone_knows_its_loads_is_asked_each_time(source: Source, tmp_path: Path) -> None:
    toy = work(tmp_path, source, rules=replace(RULES, loads=()))
    run(toy)
    source.records = {**source.records, "autumn": toys(20)}
    assert run(toy).endswith("; 1 load added")
    assert list(document(toy)["tables"]["toys"]["loads"]) == ["autumn", "spring", "summer"]


def test_a_sample_has_a_table_of_its_own(source: Source, tmp_path: Path) -> None:
    whole = work(tmp_path, source)
    sample = work(tmp_path / "sample", source, lake=tmp_path / "lake", rows_max=200)
    run(whole)
    run(sample)
    assert document(sample)["tables"]["toys"]["rows"] == 4
    assert document(whole)["tables"]["toys"]["rows"] == 10
    assert sorted(path.name for path in whole.lake.iterdir()) == ["toys", "toys-rows-200"]
    assert read_tables(whole)["toys"].num_rows == 10


def test_records_that_break_the_rules_stop_the_stage_and_mended_ones_resume_it(source: Source, tmp_path: Path) -> None:
    good = source.records
    source.records = {**good, "summer": good["summer"].drop_columns(["price"])}
    toy = work(tmp_path, source)
    with pytest.raises(Refusal, match=r"toys\.price \(load summer\): expected a column, got no such column"):
        run(toy)
    assert not toy.folder.exists()
    source.records = good
    assert run(toy).endswith("; 1 load added")
    assert document(toy)["tables"]["toys"]["version"] == 3


def test_a_fetch_that_breaks_off_leaves_whole_loads_and_resumes(source: Source, tmp_path: Path) -> None:
    def broken(downloads: Path, rows_max: int | None) -> Any:
        yield next(iter(source(downloads, rows_max)))
        raise Refusal("shop", expected="an answer", got="none", hint="Ask again.")

    toy = work(tmp_path, source)
    with pytest.raises(Refusal, match="shop"):
        run(with_fetch(toy, broken))
    assert not (toy.folder / "snapshot").exists()
    assert run(toy).endswith("; 1 load added")


def test_a_load_that_the_source_does_not_give_is_missed(source: Source, tmp_path: Path) -> None:
    source.records = {"spring": toys()}
    with pytest.raises(Refusal, match="table toys: expected the loads spring, summer, got none of summer"):
        run(work(tmp_path, source))


def test_a_load_that_nobody_expected_is_refused_before_it_is_added(source: Source, tmp_path: Path) -> None:
    source.records = {**source.records, "autumn": toys(20)}
    toy = work(tmp_path, source)
    with pytest.raises(Refusal, match="table toys: expected the loads spring, summer, got autumn"):
        run(toy)
    assert list(Table(table_folder(toy), RULES).loads()) == ["spring", "summer"]


def test_a_load_for_a_table_without_rules_is_refused(tmp_path: Path) -> None:
    def strange(downloads: Path, rows_max: int | None) -> Any:
        yield Load("strange", "spring", toys())

    with pytest.raises(Refusal, match="load spring: expected a table of toys, got 'strange'"):
        run(work(tmp_path, strange))


def test_other_rows_of_a_load_that_is_there_are_refused(source: Source, tmp_path: Path) -> None:
    toy = work(tmp_path, source, rules=replace(RULES, loads=()))
    run(toy)
    source.records = {**source.records, "spring": with_value(toys(), "price", 2, 99.0)}
    with pytest.raises(Refusal, match=r"toys \(load spring\): expected the 6 rows of digest"):
        run(toy)


def test_a_value_that_was_changed_in_the_table_is_found_by_its_load(source: Source, tmp_path: Path) -> None:
    toy = work(tmp_path, source)
    run(toy)
    DeltaTable(table_folder(toy)).update(updates={"price": "99.0"}, predicate="id = 7")
    with pytest.raises(Refusal, match=r"table toys, load summer: expected rows of digest .* were changed after"):
        run(toy)
    # The version that was frozen is still what it was.
    assert read_tables(toy)["toys"].num_rows == 10


def test_a_row_that_was_taken_out_of_the_table_is_found(source: Source, tmp_path: Path) -> None:
    toy = work(tmp_path, source)
    run(toy)
    DeltaTable(table_folder(toy)).delete("id = 3")
    with pytest.raises(Refusal, match="table toys, load spring: expected rows of digest"):
        run(toy)


@pytest.mark.parametrize("name", ["spring", "theirs"])
def test_rows_that_another_program_added_are_found(source: Source, tmp_path: Path, name: str) -> None:
    toy = work(tmp_path, source)
    run(toy)
    write_deltalake(table_folder(toy), toys(50, 1).append_column(LOAD, pa.array([name])), mode="append")
    with pytest.raises(Refusal, match=r"table toys, load spring: expected rows of|table toys: .*got rows of theirs"):
        run(toy)


def test_a_table_that_was_made_anew_with_other_rows_is_found_by_the_earlier_snapshot(
    source: Source, tmp_path: Path
) -> None:
    toy = work(tmp_path, source)
    run(toy)
    shutil.rmtree(table_folder(toy))
    other = Source({**source.records, "summer": with_value(source.records["summer"], "price", 0, 99.0)})
    with pytest.raises(Refusal, match=r"table toys, load summer: .* If it is meant to be so, remove .*snapshot\.json"):
        run(with_fetch(toy, other))
    with pytest.raises(Refusal, match="table toys, version 3: expected rows of digest"):
        read_tables(toy)
    shutil.rmtree(toy.folder / "snapshot")
    assert run(with_fetch(toy, other)).endswith("; nothing new")


def test_a_lake_that_was_removed_is_filled_again_with_the_same_digest(source: Source, tmp_path: Path) -> None:
    toy = work(tmp_path, source)
    run(toy)
    before = document(toy)
    shutil.rmtree(toy.lake)
    with pytest.raises(Refusal, match="table toys: expected a table in"):
        read_tables(toy)
    run(toy)
    assert document(toy) == before


def test_rules_that_became_stricter_find_rows_that_are_there(source: Source, tmp_path: Path) -> None:
    run(work(tmp_path, source))
    columns = tuple(replace(column, high=5) if column.name == "price" else column for column in RULES.columns)
    with pytest.raises(Refusal, match=r"toys\.price \(load all\): expected finite numbers 0\.\.5, got 4 of 10 rows"):
        run(work(tmp_path, source, rules=replace(RULES, columns=columns)))


def test_records_that_are_too_old_stop_the_stage(source: Source, tmp_path: Path) -> None:
    toy = work(tmp_path, source, freshness_days_max=30)
    run(toy, lambda: SPRING + timedelta(days=20))
    with pytest.raises(Refusal, match=r"toys\.sold_at: expected the newest event at most 30 days old, got 2024-03-01"):
        run(toy, lambda: SPRING + timedelta(days=40))
    with pytest.raises(Refusal, match=r"toys\.sold_at: expected the newest event at most 30 days old"):
        run(toy)


def test_another_pin_asks_the_source_again_and_keeps_equal_loads(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = work(tmp_path, source, rules=replace(RULES, package="shop"))
    for version, asked, ending in (("1.0", 1, "2 loads added"), ("1.0", 1, "nothing new"), ("1.1", 2, "nothing new")):
        pin = Pin("shop", version, version * 20)
        monkeypatch.setattr(snapshot, "pinned", lambda package, pin=pin: pin)
        assert run(toy).endswith(ending)
        assert source.asked == asked
        assert document(toy)["source"] == {"package": "shop", "version": version, "sha256": version * 20}


def test_tables_are_read_as_they_were_frozen_whatever_came_later(source: Source, tmp_path: Path) -> None:
    rules = replace(RULES, loads=())
    toy = work(tmp_path, source, rules=rules)
    run(toy)
    later = Source({**source.records, "autumn": toys(20)})
    run(work(tmp_path / "later", later, lake=tmp_path / "lake", rules=rules))
    rows = read_tables(toy)["toys"]
    assert rows.column_names == [*RULES.schema.names, LOAD]
    assert rows["id"].to_pylist() == list(range(10))
    assert rows[LOAD].to_pylist() == ["spring"] * 6 + ["summer"] * 4


def test_a_snapshot_of_another_sample_is_not_read(source: Source, tmp_path: Path) -> None:
    run(work(tmp_path, source))
    with pytest.raises(Refusal, match=r"snapshot\.rows_max: expected None, as the snapshot was taken with, got 200"):
        read_tables(work(tmp_path, source, rows_max=200))


def test_a_snapshot_that_was_not_taken_is_asked_for(source: Source, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="stage snapshot: expected it to have been done"):
        read_tables(work(tmp_path, source))


def test_runs_at_once_freeze_the_same(source: Source, tmp_path: Path) -> None:
    works = [work(tmp_path / str(number), source, lake=tmp_path / "lake") for number in range(3)]
    started, failed = threading.Barrier(3), list[BaseException]()

    def take(one: Work) -> None:
        started.wait()
        try:
            run(one, lambda: datetime(2024, 4, 1, tzinfo=UTC))
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failed.append(error)

    threads = [threading.Thread(target=take, args=(one,)) for one in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    tables = [document(one)["tables"]["toys"] for one in works]
    assert {one["digest"] for one in tables} == {content_digest(pa.concat_tables(source.records.values()), RULES.keys)}
    assert {one["version"] for one in tables} == {3}
