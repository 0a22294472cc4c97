"""Snapshot: records fetched, checked, added to the lake's tables, and the versions frozen that a run is about.

First stage. `snapshot.json` names tables, versions and content digests; later stages get the rows by `read_tables`.
Always: the digests are of what the tables hold now, and every row is one that a load brought: a table that was changed
behind the loads' back is refused. What the lake has already is neither fetched nor added again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.downloads import pinned
from pipelines.lake.constraints import LOAD, TableRules, check, check_freshness
from pipelines.lake.content_digest import digest_of_ordered
from pipelines.lake.table import Table
from pipelines.refusal import Refusal
from pipelines.work import Work, read_json, write_json

STAGE = "snapshot"
FILE = "snapshot.json"
SHORT = 12


def _utc_now() -> datetime:
    return datetime.now(UTC)


def run(work: Work, now: Callable[[], datetime] = _utc_now) -> str:
    """The stage. now: for how fresh records are. Raises Refusal."""
    tables = lake_tables(work)
    source = _source(work)
    origin = "" if source is None else "{package} {version} {sha256}".format_map(source)
    added = 0 if _complete(tables, origin) else _append_all(work, tables, origin)
    frozen = {name: _frozen(work, table, now()) for name, table in tables.items()}
    document = {"tables": frozen, "source": source, "rows_max": work.parameters.snapshot.rows_max}
    _compare(work, document)
    with work.output(STAGE) as folder:
        write_json(folder / FILE, document)
    told = "; ".join(
        f"{name} version {of['version']}, {of['rows']:,} rows, digest {of['digest'][:SHORT]}"
        for name, of in frozen.items()
    )
    return f"{told}; {added} {'load' if added == 1 else 'loads'} added" if added else f"{told}; nothing new"


def read_tables(work: Work) -> dict[str, pa.Table]:
    """The tables as the snapshot froze them, by name: the rules' columns and `load`, rows in the order of their keys.

    Raises Refusal where there is no snapshot, or where a table does not hold any more what it did.
    """
    document = read_json(work.of(STAGE) / FILE)
    _same_sample(work, document)
    found = {}
    for name, table in lake_tables(work).items():
        if name not in document["tables"]:
            raise Refusal(
                f"table {name}", expected="a snapshot of it", got="none", hint="Run the snapshot stage again."
            )
        frozen = document["tables"][name]
        work.say(f"reading {name} version {frozen['version']}")
        rows = table.read(frozen["version"])
        digest = digest_of_ordered(rows.drop_columns([LOAD]))
        if digest != frozen["digest"]:
            raise _changed(table, f"version {frozen['version']}", frozen["digest"], digest)
        found[name] = rows
    return found


def lake_tables(work: Work) -> dict[str, Table]:
    """By name. Samples have tables of their own: their rows are not those of whole loads."""
    rows_max = work.parameters.snapshot.rows_max
    ending = "" if rows_max is None else f"-rows-{rows_max}"
    return {rules.name: Table(f"{work.lake}/{rules.name}{ending}", rules) for rules in work.definition.tables}


def _source(work: Work) -> dict[str, str] | None:
    """The pinned package that the tables' rows come from; None where they come from none."""
    packages = {rules.package for rules in work.definition.tables}
    assert len(packages) == 1, "one example, one source"
    package = packages.pop()
    return None if package is None else pinned(package).as_json()


def _complete(tables: Mapping[str, Table], origin: str) -> bool:
    """Whether all loads are there, taken from what is pinned now. Never where only the source knows which there are."""
    for table in tables.values():
        there = table.loads()
        expected = table.rules.loads
        if not expected or any(name not in there or there[name].origin != origin for name in expected):
            return False
    return True


def _append_all(work: Work, tables: Mapping[str, Table], origin: str) -> int:
    """How many loads were added."""
    work.say(f"fetching {origin.rpartition(' ')[0] or 'records'}")
    arrived: dict[str, list[str]] = {name: [] for name in tables}
    added = 0
    for load in work.definition.fetch(work.downloads, work.parameters.snapshot.rows_max):
        if load.table not in tables:
            raise Refusal(
                f"load {load.name}", expected=f"a table of {', '.join(tables)}", got=repr(load.table),
                hint="Declare its rules in the example's definition.",
            )  # fmt: skip
        work.say(f"{load.table} {load.name}: checking {load.records.num_rows:,} rows")
        arrived[load.table].append(load.name)
        _expected(tables[load.table].rules, arrived[load.table])
        added += tables[load.table].append(load.name, load.records, origin)
    for name, table in tables.items():
        _all_arrived(table.rules, arrived[name])
    return added


def _expected(rules: TableRules, arrived: list[str]) -> None:
    """That the loads so far are of those that the rules name, each once."""
    if rules.loads and (strange := [name for name in arrived if name not in rules.loads or arrived.count(name) > 1]):
        raise _loads_differ(rules, ", ".join(strange))


def _all_arrived(rules: TableRules, arrived: list[str]) -> None:
    if missing := [name for name in rules.loads if name not in arrived]:
        raise _loads_differ(rules, f"none of {', '.join(missing)}")


def _loads_differ(rules: TableRules, got: str) -> Refusal:
    return Refusal(
        f"table {rules.name}", expected=f"the loads {', '.join(rules.loads)}", got=got,
        hint="Look whether the source is complete; what its rules call loads is in its source.py.",
    )  # fmt: skip


def _frozen(work: Work, table: Table, now: datetime) -> dict[str, Any]:
    """The newest version in figures, with every row checked again: rules may have changed since it was loaded."""
    rules, loads = table.rules, table.loads()
    if not loads:
        raise Refusal(
            f"table {rules.name}", expected="records", got="no load", hint="Look whether the source is complete."
        )
    # A version is read by its number, so that a load which arrives meanwhile is not half of this.
    version = table.versions()[-1]
    work.say(f"{rules.name} version {version}: checking all rows")
    rows = table.read(version)
    records = rows.drop_columns([LOAD])
    check(records, rules, "all")
    if (days_max := work.parameters.snapshot.freshness_days_max) is not None:
        check_freshness(records, rules, days_max, now)
    return {
        "version": version,
        "digest": digest_of_ordered(records),
        "rows": records.num_rows,
        "loads": _by_load(table, version, rows),
    }


def _by_load(table: Table, version: int, rows: pa.Table) -> dict[str, Any]:
    """Rows and digest of each load, the same as when it was added. Raises Refusal."""
    told = table.loads(version)
    unknown = set(pc.unique(rows[LOAD]).to_pylist()) - set(told)
    if unknown:
        raise Refusal(
            f"table {table.rules.name}", expected=f"rows of the loads {', '.join(told)}",
            got=f"rows of {', '.join(sorted(unknown))[:100]}",
            hint=f"Another program wrote into {table.location}: move it away, then run this again.",
        )  # fmt: skip
    found = {}
    for name, loaded in told.items():
        of_load = rows.filter(pc.equal(rows[LOAD], name)).drop_columns([LOAD])
        digest = digest_of_ordered(of_load)
        if digest != loaded.digest:
            raise _changed(table, f"load {name}", loaded.digest, digest)
        found[name] = {"rows": of_load.num_rows, "digest": digest}
    return found


def _compare(work: Work, document: Mapping[str, Any]) -> None:
    """With what an earlier snapshot of the same source recorded in this folder. Raises Refusal."""
    path = work.folder / STAGE / FILE
    if not path.exists():
        return
    earlier = read_json(path)
    if (earlier["source"], earlier["rows_max"]) != (document["source"], document["rows_max"]):
        return
    tables = lake_tables(work)
    for name in earlier["tables"].keys() & tables.keys():
        now = document["tables"][name]["loads"]
        for load, recorded in earlier["tables"][name]["loads"].items():
            digest = now[load]["digest"] if load in now else "none"
            if digest != recorded["digest"]:
                hint = f" If it is meant to be so, remove {path}."
                raise _changed(tables[name], f"load {load}", recorded["digest"], digest, hint)


def _same_sample(work: Work, document: Mapping[str, Any]) -> None:
    rows_max = work.parameters.snapshot.rows_max
    if document["rows_max"] != rows_max:
        raise Refusal(
            "snapshot.rows_max", expected=f"{document['rows_max']}, as the snapshot was taken with", got=f"{rows_max}",
            hint="Run the snapshot stage again.",
        )  # fmt: skip


def _changed(table: Table, what: str, expected: str, got: str, hint: str = "") -> Refusal:
    return Refusal(
        f"table {table.rules.name}, {what}", expected=f"rows of digest {expected[:SHORT]}", got=got[:SHORT],
        hint=f"They were changed after they were loaded: move {table.location} away, and the snapshot stage loads them "
        f"again.{hint}",
    )  # fmt: skip
