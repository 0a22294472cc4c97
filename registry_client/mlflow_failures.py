"""MLflow's failures as ours: what its client, its store and the way there raise, in one line that says what to do.

Used by `mlflow_registry.py`. Always: what is down may be tried again (RegistryUnavailable); what MLflow refuses is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from google.protobuf.json_format import ParseError
from mlflow.exceptions import MlflowException

from registry_client.errors import NotInRegistry, RegistryRefused, RegistryUnavailable
from registry_client.tracking_uri import database_file, failure_words

MISSING: Final = "RESOURCE_DOES_NOT_EXIST"
UNAVAILABLE: Final = frozenset({"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "IO_ERROR", "UNAVAILABLE"})
DATABASE_TIMEOUT_S: Final = 5.0


@contextmanager
def asked(registry: str, what: str) -> Iterator[None]:
    """registry: as it may be shown. what: it was asked for, as in "list models". Raises RegistryUnavailable,
    NotInRegistry and RegistryRefused for all that goes wrong with it inside the block."""
    try:
        yield
    except MlflowException as error:
        if error.error_code in UNAVAILABLE:
            raise _unavailable(registry, what, error) from error
        if error.error_code == MISSING:
            raise NotInRegistry(
                "registry", expected=f"one that can {what}", got=failure_words(error), hint="See what it holds."
            ) from error
        got, hint = failure_words(error), "Check its address and rights."
        raise RegistryRefused("registry", expected=f"one that can {what}", got=got, hint=hint) from error
    except (OSError, ImportError, sqlite3.Error, _store_errors()) as error:
        raise _unavailable(registry, what, error) from error
    except (ParseError, ValueError, TypeError, AttributeError, KeyError) as error:
        # MLflow's client trusts its server's answers: one that means nothing ends in any of these.
        raise _unavailable(registry, what, error) from error


def check_database(uri: str) -> None:
    """MLflow tries a database that can't be read ten times, for a hundred seconds: this finds out at once."""
    path = database_file(uri)
    if path is not None and path.exists():
        with closing(sqlite3.connect(path, timeout=DATABASE_TIMEOUT_S)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()


def _unavailable(registry: str, what: str, error: Exception) -> RegistryUnavailable:
    return RegistryUnavailable(
        f"registry {registry}", expected=f"it to {what}", got=failure_words(error),
        hint="See that it is up and reachable, then try again.",
    )  # fmt: skip


def _store_errors() -> type[Exception]:
    """What SQLite's driver raises through SQLAlchemy; installed with this room's extra."""
    from sqlalchemy.exc import SQLAlchemyError

    return SQLAlchemyError
