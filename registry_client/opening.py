"""Opening a registry by its location: a folder, or the tracking URI of an MLflow server or database.

Used by everybody who is given a location. Always: MLflow is imported only where a location asks for it.
"""

from __future__ import annotations

from pathlib import Path

from registry_client.errors import RegistryRefused
from registry_client.registry import Registry
from registry_client.tracking_uri import is_tracking_uri, without_passwords


def absolute_location(location: str) -> str:
    """The same place for a process with another working folder: SQLite's relative paths and folders become absolute."""
    scheme, separator, path = location.partition(":///")
    if separator and scheme.startswith("sqlite") and path:
        return f"{scheme}:///{Path(path).absolute()}"
    return location if is_tracking_uri(location) else str(Path(location).expanduser().absolute())


def shown_location(location: str) -> str:
    """The absolute location for files and messages: without a password."""
    return without_passwords(absolute_location(location))


def open_registry(location: str, *, must_exist: bool = False) -> Registry:
    """Raises RegistryRefused where the location can be no registry; that it answers shows with the first call.

    must_exist: refuses an embedded database that is not there, instead of making one: who only reads has mistyped it.
    """
    if is_tracking_uri(location):
        from registry_client.mlflow_environment import set_variables

        set_variables()
        try:
            from registry_client.mlflow_registry import MlflowRegistry
        except ImportError as error:
            raise RegistryRefused(
                "registry", expected="MLflow's client to be installed", got=f"{error}",
                hint="Install the extra: pip install roost-server[registry].",
            ) from error  # fmt: skip
        return MlflowRegistry(location, must_exist=must_exist)
    from registry_client.folder import FolderRegistry

    return FolderRegistry(Path(location).expanduser())
