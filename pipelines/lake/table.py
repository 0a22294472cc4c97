"""Table: an example's records in Delta Lake, one version a load. Filled and read by the snapshot stage alone.

Always: a load is in the table whole and once, or not at all, whoever else writes at the same time and whenever a
process is killed; each row says in the column `load` which it came with; a commit tells its load's rows and digest, so
that rows which were changed later are found; what Delta can check of the rules, it checks of other writers too.

A load is committed as the very next version after the one that its keys were compared with; who finds that version
taken compares again. Rows are read by Delta's own query engine: a PyArrow data set reads through a Python file system
from threads of its own, and with 1.6 one process in seven then aborted at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, QueryBuilder, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from pipelines.lake.constraints import LOAD, TableRules, check, check_new
from pipelines.lake.content_digest import content_digest, in_order
from pipelines.refusal import Refusal

# The keys of a commit's metadata that tell of its load.
LOAD_NAME: Final = "roost.load"
LOAD_VERSION: Final = "roost.version"
LOAD_ROWS: Final = "roost.rows"
LOAD_DIGEST: Final = "roost.digest"
LOAD_ORIGIN: Final = "roost.origin"
TRIES_MAX: Final = 50
"""Commits that others may make while one load tries to: each try that fails means that another load arrived."""
CONFIGURATION: Final[dict[str, str | None]] = {
    # The log tells which loads there are, so that no part of it may ever be cleaned up.
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
}
RETRIES: Final = 0
"""Of Delta's own: a commit comes right after the version that we know, or not at all. Else two runs at once would both
make the table, and both add a load."""
CONSTRAINT: Final = "delta.constraints."
BROKEN_CONSTRAINT: Final = "Invalid data found"


@dataclass(frozen=True)
class Loaded:
    """What the log tells of a load. version: the table's, that it made. origin: what its source was pinned as."""

    version: int
    rows: int
    digest: str
    origin: str


class Table:
    """location: a folder, or a URI that Delta knows, with its `storage` options. Touches nothing before it is asked."""

    def __init__(self, location: Path | str, rules: TableRules, storage: Mapping[str, str] | None = None) -> None:
        self.location, self.rules = str(location), rules
        self._storage = dict(storage) if storage else None
        self._schema = rules.schema.append(pa.field(LOAD, pa.string(), nullable=False))

    def append(self, load: str, records: pa.Table, origin: str = "") -> bool:
        """Add the load of that name as a version of its own; False where the table has it already.

        origin: what the load was taken from, kept with it. Raises Refusal where the records break the rules, where the
        load is there with other rows, or where the store does not let us.
        """
        check(records, self.rules, load)
        digest = content_digest(records, self.rules.keys)
        for _ in range(TRIES_MAX):
            table = self._prepared()
            known = self._loads(table)
            coming = Loaded(table.version() + 1, records.num_rows, digest, origin)
            if load in known:
                self._same(load, coming, known[load])
                return False
            check_new(records, self.rules, load, self._rows(table, [*self.rules.keys, LOAD]))
            if self._committed(table, load, records, coming):
                return True
        raise self._crowded()

    def versions(self) -> tuple[int, ...]:
        """From the oldest, 0, to the newest; () where there is no table. Raises Refusal."""
        with self._reading():
            return tuple(range(self._open().version() + 1)) if self.exists() else ()

    def exists(self) -> bool:
        with self._reading():
            return DeltaTable.is_deltatable(self.location, self._storage)

    def loads(self, version: int | None = None) -> dict[str, Loaded]:
        """By name, in the order in which they came, up to that version; the newest where None. Raises Refusal."""
        with self._reading():
            if version is None and not self.exists():
                return {}
            return self._loads(self._open(version))

    def read(self, version: int | None = None) -> pa.Table:
        """The rows, in the order of their keys, with the rules' columns and `load`. Raises Refusal."""
        with self._reading():
            table = self._open(version)
        self._fits(table)
        return in_order(self._rows(table, self._schema.names), self.rules.keys)

    def _open(self, version: int | None = None) -> DeltaTable:
        return DeltaTable(self.location, version=version, storage_options=self._storage)

    def _prepared(self) -> DeltaTable:
        """The newest version of a table that has its constraints; made where there is none."""
        for _ in range(TRIES_MAX):
            if not self.exists():
                self._create()
            with self._reading():
                table = self._open()
            missing = self._missing_constraints(table)
            if not missing:
                self._fits(table)
                return table
            once = CommitProperties(max_commit_retries=RETRIES)
            self._commit_next(table, partial(table.alter.add_constraint, missing, commit_properties=once))
        raise self._crowded()

    def _create(self) -> None:
        try:
            DeltaTable.create(
                self.location, self._schema, name=self.rules.name, configuration=CONFIGURATION,
                storage_options=self._storage, commit_properties=CommitProperties(max_commit_retries=RETRIES),
            )  # fmt: skip
        except (DeltaError, OSError) as error:
            if not self.exists():  # else another run made it at the same time
                raise self._unwritable(error) from error

    def _commit_next(self, table: DeltaTable, commit: Callable[[], object]) -> bool:
        """Commit what comes right after the version of `table`; False where somebody else did. Raises Refusal."""
        try:
            commit()
        except CommitFailedError as error:
            with self._reading():
                overtaken = self._open().version() > table.version()
            if not overtaken:
                raise self._unwritable(error) from error
            return False
        except (DeltaError, OSError) as error:
            if BROKEN_CONSTRAINT in str(error):
                raise self._stricter(error) from error
            raise self._unwritable(error) from error
        return True

    def _missing_constraints(self, table: DeltaTable) -> dict[str, str]:
        there = table.metadata().configuration
        wanted = {column.name: column.sql() for column in self.rules.columns}
        return {name: sql for name, sql in wanted.items() if sql is not None and CONSTRAINT + name not in there}

    def _fits(self, table: DeltaTable) -> None:
        there, expected = _columns(pa.schema(table.schema().to_arrow())), _columns(self._schema)
        if there != expected:
            differ = ", ".join(sorted(there.symmetric_difference(expected)))
            raise Refusal(
                f"table {self.rules.name}", expected=f"the columns {', '.join(sorted(expected))}",
                got=f"others, which differ in {differ}",
                hint=f"It was made by other rules: move {self.location} away, then run this again.",
            )  # fmt: skip

    def _loads(self, table: DeltaTable) -> dict[str, Loaded]:
        with self._reading():
            commits = reversed(table.history())
        try:
            told = {
                commit[LOAD_NAME]: Loaded(
                    int(commit[LOAD_VERSION]), int(commit[LOAD_ROWS]), commit[LOAD_DIGEST], commit[LOAD_ORIGIN]
                )
                for commit in commits
                if LOAD_NAME in commit
            }
        except (KeyError, ValueError) as error:
            raise self._damaged(error) from error
        # The log tells of later commits too. Its own numbers count back from the version that was asked for, also then.
        return {name: loaded for name, loaded in told.items() if loaded.version <= table.version()}

    def _rows(self, table: DeltaTable, columns: list[str]) -> pa.Table:
        names = ", ".join(f'"{name}"' for name in columns)
        with self._reading():
            query = QueryBuilder().register("held", table).execute(f"SELECT {names} FROM held")
            rows = pa.table(query.read_all())
        # It gives texts as views.
        return rows.cast(pa.schema([self._schema.field(name) for name in columns]))

    def _committed(self, table: DeltaTable, load: str, records: pa.Table, coming: Loaded) -> bool:
        """False where another commit came first."""
        rows = records.select(self.rules.schema.names)
        rows = rows.append_column(LOAD, pa.array([load] * rows.num_rows, pa.string())).cast(self._schema)
        told = {
            LOAD_NAME: load,
            LOAD_VERSION: str(coming.version),
            LOAD_ROWS: str(coming.rows),
            LOAD_DIGEST: coming.digest,
            LOAD_ORIGIN: coming.origin,
        }
        write = partial(
            write_deltalake,
            table,
            rows,
            mode="append",
            commit_properties=CommitProperties(custom_metadata=told, max_commit_retries=RETRIES),
            post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
        )
        return self._commit_next(table, write)

    def _same(self, load: str, coming: Loaded, known: Loaded) -> None:
        if coming.digest != known.digest:
            raise Refusal(
                f"{self.rules.name} (load {load})",
                expected=f"the {known.rows:,} rows of digest {known.digest[:12]} that were loaded before",
                got=f"{coming.rows:,} of {coming.digest[:12]}",
                hint=f"A load never changes: give it a name of its own, or move {self.location} away to begin anew.",
            )  # fmt: skip

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Refusal:
            raise
        # The query engine raises bare exceptions.
        except Exception as error:
            raise self._damaged(error) from error

    def _unwritable(self, error: Exception) -> Refusal:
        return Refusal(
            f"table {self.rules.name}", expected=f"to be written in {self.location}", got=_first_line(error),
            hint="Check that the place can be written and has room, then run this again: nothing is half written.",
        )  # fmt: skip

    def _stricter(self, error: Exception) -> Refusal:
        """The rules let the records pass, so that the table has the constraints of earlier ones."""
        return Refusal(
            f"table {self.rules.name}", expected="constraints like the rules", got=f"others: {_first_line(error)}",
            hint=f"Its rules were widened since it was made: move {self.location} away, then run this again.",
        )  # fmt: skip

    def _crowded(self) -> Refusal:
        return Refusal(
            f"table {self.rules.name}", expected=f"a version of ours within {TRIES_MAX} tries",
            got="another writer's each time", hint="Let the other runs end, then run this again.",
        )  # fmt: skip

    def _damaged(self, error: Exception) -> Refusal:
        missing = isinstance(error, TableNotFoundError)
        return Refusal(
            f"table {self.rules.name}",
            expected=f"a table in {self.location}" if missing else f"a readable table in {self.location}",
            got="none" if missing else f"{type(error).__name__}: {_first_line(error)}",
            hint="Run its snapshot stage again: python -m pipelines.stages snapshot NAME." if missing else
            "Bring it back from a copy, or move it away: the next run loads it again from its source.",
        )  # fmt: skip


def _columns(schema: pa.Schema) -> set[str]:
    """Such as "id int64 not null"; texts are read as views, and are texts all the same."""
    texts = (pa.types.is_string_view, pa.types.is_large_string)
    return {
        f"{field.name} {'string' if any(is_text(field.type) for is_text in texts) else field.type}"
        f"{'' if field.nullable else ' not null'}"
        for field in schema
    }


def _first_line(error: Exception) -> str:
    """Delta adds stack traces, and tables of rows."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason")[:300]
