"""A table in Delta Lake: whole loads, once, whoever else writes; and one refusal for each way that a store fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.lake.constraints import LOAD, Column, TableRules
from pipelines.lake.content_digest import content_digest
from pipelines.lake.table import LOAD_NAME, Table
from pipelines.refusal import Refusal
from tests.pipelines.lake.toys import RULES, toys, with_value

ROOT = Path(__file__).parents[3]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path / "toys", RULES)


def rows_of(table: Table, version: int | None = None) -> dict[str, int]:
    """By load how many rows."""
    counted = pc.value_counts(table.read(version)[LOAD])
    return {entry["values"].as_py(): entry["counts"].as_py() for entry in counted}


def foreign(table: Table, records: pa.Table, name: str = "theirs") -> None:
    """Append past us, as another program would."""
    write_deltalake(table.location, records.append_column(LOAD, pa.array([name] * records.num_rows)), mode="append")


def test_a_load_becomes_the_next_version_with_its_rows_and_digest(table: Table) -> None:
    assert table.append("spring", toys(), "shop 1.0")
    before = table.versions()[-1]
    assert table.append("summer", toys(6, 4), "shop 1.1")
    assert table.versions() == tuple(range(before + 2))
    loads = table.loads()
    assert list(loads) == ["spring", "summer"]
    assert (loads["summer"].version, loads["summer"].rows, loads["summer"].origin) == (before + 1, 4, "shop 1.1")
    assert loads["summer"].digest == content_digest(toys(6, 4), RULES.keys)


def test_an_older_version_stays_what_it_was(table: Table) -> None:
    table.append("spring", toys())
    version = table.versions()[-1]
    table.append("summer", toys(6, 4))
    assert rows_of(table, version) == {"spring": 6}
    assert list(table.loads(version)) == ["spring"]
    assert rows_of(table) == {"spring": 6, "summer": 4}


def test_rows_come_back_as_they_went_in_by_the_order_of_their_keys(table: Table) -> None:
    records = toys(rows=20)
    table.append("spring", records.take([*range(19, -1, -1)]).select(sorted(records.column_names)))
    assert table.read().drop_columns([LOAD]).to_pylist() == records.to_pylist()
    assert table.read().schema.field("price").type == pa.float64()


def test_a_load_that_is_there_is_not_added_again(table: Table) -> None:
    assert table.append("spring", toys())
    versions = table.versions()
    assert not table.append("spring", toys().take([5, 4, 3, 2, 1, 0]))
    assert table.versions() == versions


def test_a_load_that_is_there_with_other_rows_is_refused(table: Table) -> None:
    table.append("spring", toys())
    with pytest.raises(Refusal, match=r"toys \(load spring\): expected the 6 rows of digest .* never changes"):
        table.append("spring", with_value(toys(), "price", 0, 9.0))


def test_records_that_break_the_rules_leave_no_version(table: Table) -> None:
    table.append("spring", toys())
    versions = table.versions()
    with pytest.raises(Refusal, match=r"toys\.size \(load summer\)"):
        table.append("summer", toys(6, 4, size=[1, 2, 3, 4]))
    with pytest.raises(Refusal, match=r"toys\.id,shop \(load summer\): .* that load spring has: id=5 shop='north'"):
        table.append("summer", toys(5, 4))
    assert table.versions() == versions


def test_a_table_that_is_not_there_has_no_versions_and_cannot_be_read(table: Table) -> None:
    assert table.versions() == ()
    assert table.loads() == {}
    with pytest.raises(Refusal, match=r"table toys: expected a table in .* got none\. Run its snapshot stage again"):
        table.read()
    assert not Path(table.location).exists()


def test_a_version_that_never_was_is_refused(table: Table) -> None:
    table.append("spring", toys())
    with pytest.raises(Refusal, match="table toys: expected a readable table"):
        table.read(99)


@pytest.mark.parametrize(
    ("column", "value"), [("id", -1), ("price", 100.5), ("size", 4), ("shop", "south"), ("broke", 2), ("broke", None)]
)
def test_delta_itself_refuses_what_another_program_writes_against_the_rules(
    table: Table, column: str, value: Any
) -> None:
    table.append("spring", toys())
    with pytest.raises(Exception, match=r"1 rows failed validation|non-null|non-nullable|null"):
        foreign(table, with_value(toys(first=50), column, 0, value))
    assert rows_of(table) == {"spring": 6}


def test_delta_lets_pass_what_the_rules_do(table: Table) -> None:
    table.append("spring", toys())
    foreign(table, toys(first=50, price=[None, 0.0, 100.0, 1.0, 2.0, 3.0]))
    assert rows_of(table) == {"spring": 6, "theirs": 6}
    assert list(table.loads()) == ["spring"]


def test_names_that_sql_knows_as_words_are_columns_all_the_same(tmp_path: Path) -> None:
    rules = TableRules(
        "words", (Column("year", "integer", low=0), Column("Order", "integer", codes=(1, 2)), Column("select", "text")),
        ("year",),
    )  # fmt: skip
    words = Table(tmp_path / "words", rules)
    records = pa.table({"year": [1, 2], "Order": [1, 2], "select": ["a", "b"]})
    assert words.append("one", records)
    assert words.read().drop_columns([LOAD]).to_pylist() == records.to_pylist()
    with pytest.raises(Exception, match="1 rows failed validation"):
        foreign(words, pa.table({"year": [3], "Order": [3], "select": ["c"]}))


def overtake(monkeypatch: pytest.MonkeyPatch, table: Table, rival: Callable[[], object]) -> None:
    """Once, after the table was looked at and before anything is committed, `rival` commits."""
    whole, done = table._rows, []

    def rows(*arguments: Any) -> pa.Table:
        found = whole(*arguments)
        if not done:
            done.append(True)
            rival()
        return found

    monkeypatch.setattr(table, "_rows", rows)


def test_a_load_that_was_overtaken_by_itself_is_not_added_twice(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    overtake(monkeypatch, table, lambda: Table(table.location, RULES).append("spring", toys()))
    assert not table.append("spring", toys())
    assert rows_of(table) == {"spring": 6}


def test_a_load_that_was_overtaken_by_its_own_keys_is_refused(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    overtake(monkeypatch, table, lambda: Table(table.location, RULES).append("winter", toys(rows=1)))
    with pytest.raises(Refusal, match="that load winter has: id=0"):
        table.append("spring", toys())
    assert rows_of(table) == {"winter": 1}


def test_a_load_that_was_overtaken_by_another_tries_again(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    overtake(monkeypatch, table, lambda: Table(table.location, RULES).append("winter", toys(100)))
    assert table.append("spring", toys())
    assert rows_of(table) == {"spring": 6, "winter": 6}
    assert [loaded.rows for loaded in table.loads().values()] == [6, 6]


def test_runs_that_start_at_once_make_one_table_with_each_load_once(table: Table) -> None:
    started, added, failed = threading.Barrier(4), list[str](), list[BaseException]()

    def run() -> None:
        own = Table(table.location, RULES)
        started.wait()
        try:
            for name, first in (("spring", 0), ("summer", 6), ("autumn", 12)):
                if own.append(name, toys(first)):
                    added.append(name)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sorted(added) == ["autumn", "spring", "summer"]
    assert rows_of(table) == {"spring": 6, "summer": 6, "autumn": 6}
    assert [loaded.version for loaded in table.loads().values()] == [2, 3, 4]


def commit_files(table: Table) -> list[Path]:
    return sorted((Path(table.location) / "_delta_log").glob("*.json"))


def row_files(table: Table) -> list[Path]:
    return sorted(Path(table.location).glob("*.parquet"))


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage\n")


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("harm", [garbage, halved, Path.unlink])
@pytest.mark.parametrize("files", [commit_files, row_files])
def test_a_damaged_table_is_refused_in_one_line_that_says_what_to_do(
    table: Table, files: Callable[[Table], list[Path]], harm: Callable[[Path], None]
) -> None:
    table.append("spring", toys())
    table.append("summer", toys(6, 4))
    harm(files(table)[1])
    with pytest.raises(Refusal, match=r"table toys: expected a readable table in .* move it away") as caught:
        table.read()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    with pytest.raises(Refusal, match="move it away"):
        table.append("autumn", toys(20))


def test_a_commit_that_a_power_cut_emptied_is_made_again(table: Table) -> None:
    table.append("spring", toys())
    table.append("summer", toys(6, 4))
    commit_files(table)[-1].write_bytes(b"")
    assert list(table.loads()) == ["spring"]
    assert table.append("summer", toys(6, 4))
    assert rows_of(table) == {"spring": 6, "summer": 4}
    assert [loaded.version for loaded in table.loads().values()] == [2, 4]


def test_rows_that_no_commit_names_are_not_read(table: Table) -> None:
    table.append("spring", toys())
    (Path(table.location) / "part-00009-left-behind.parquet").write_bytes(row_files(table)[0].read_bytes())
    assert rows_of(table) == {"spring": 6}


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Refusal, match=r"table toys: expected to be written in .* Check that the place can be written"):
        Table(tmp_path / "file" / "toys", RULES).append("spring", toys())


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


FULL = """
    import resource, sys
    from pipelines.lake.table import Table
    from pipelines.refusal import Refusal
    from tests.pipelines.lake.toys import RULES, toys

    table = Table(sys.argv[1], RULES)
    table.append("spring", toys())
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
    try:
        table.append("summer", toys(6, 4000))
    except Refusal as refusal:
        print(refusal, flush=True)
"""


def test_a_store_that_is_full_is_refused_and_keeps_what_it_had(table: Table) -> None:
    # A limit on the size of files stands in for a disk's.
    told, _ = run_python(FULL, table.location).communicate(timeout=60)
    assert told.startswith(f"table toys: expected to be written in {table.location}, got ")
    assert "has room, then run this again: nothing is half written." in told
    assert rows_of(table) == {"spring": 6}
    assert table.append("summer", toys(6, 4000))


KILLED = """
    import sys
    from pipelines.lake.table import Table
    from tests.pipelines.lake.toys import RULES, toys

    for number in range(1000):
        Table(sys.argv[1], RULES).append(str(number), toys(number * 2000, 2000))
        print(number, flush=True)
"""


def test_a_killed_process_leaves_whole_loads_only(table: Table) -> None:
    process = run_python(KILLED, table.location)
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    counts, loads = rows_of(table), table.loads()
    assert len(loads) >= 4
    assert counts == dict.fromkeys(loads, 2000)
    assert table.append("next", toys(10_000_000))


def test_a_table_that_other_rules_made_is_refused_with_what_to_do(table: Table) -> None:
    table.append("spring", toys())
    other = TableRules("toys", (*RULES.columns, Column("colour", "text", nullable=True)), RULES.keys)
    records = toys(6).append_column("colour", pa.nulls(6, pa.string()))
    refused = r"table toys: .* differ in colour string\. It was made by other rules: move .* away"
    with pytest.raises(Refusal, match=refused):
        Table(table.location, other).append("summer", records)
    with pytest.raises(Refusal, match=refused):
        Table(table.location, other).read()
    with pytest.raises(Refusal, match=r"differ in price double\."):
        Table(table.location, replace(RULES, columns=RULES.columns[:2] + RULES.columns[3:])).read()


def test_the_order_of_columns_is_none_of_the_rules(table: Table) -> None:
    table.append("spring", toys())
    turned = Table(table.location, replace(RULES, columns=RULES.columns[::-1]))
    assert turned.append("summer", toys(6))
    assert turned.read().select(RULES.schema.names).to_pylist() == toys(rows=12).to_pylist()


def test_a_table_that_narrower_rules_made_is_refused_with_what_to_do(table: Table) -> None:
    table.append("spring", toys())
    columns = tuple(replace(column, high=200) if column.name == "price" else column for column in RULES.columns)
    records = with_value(toys(6), "price", 1, 150.0)
    with pytest.raises(Refusal, match=r"table toys: expected constraints like the rules, .* widened .* move .* away"):
        Table(table.location, replace(RULES, columns=columns)).append("summer", records)


def test_a_table_whose_making_was_cut_gets_its_constraints_later(table: Table) -> None:
    Table(table.location, RULES)._create()
    assert table.versions() == (0,)
    table.append("spring", toys())
    with pytest.raises(Exception, match="failed validation"):
        foreign(table, with_value(toys(first=50), "size", 0, 4))


def test_the_log_keeps_every_commit_for_ever(table: Table) -> None:
    table.append("spring", toys())
    settings = DeltaTable(table.location).metadata().configuration
    assert settings["delta.enableExpiredLogCleanup"] == "false"
    assert settings["delta.logRetentionDuration"] == "interval 36500 days"


def test_a_commit_that_tells_nonsense_of_its_load_is_refused(table: Table) -> None:
    from deltalake import CommitProperties

    table.append("spring", toys())
    records = toys(6).append_column(LOAD, pa.array(["bad"] * 6))
    write_deltalake(
        table.location, records, mode="append",
        commit_properties=CommitProperties(custom_metadata={LOAD_NAME: "bad", "roost.rows": "many"}),
    )  # fmt: skip
    with pytest.raises(Refusal, match="table toys: expected a readable table"):
        table.loads()
