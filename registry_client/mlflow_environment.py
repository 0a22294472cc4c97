"""How MLflow's client behaves here: set before it is imported, since it reads the environment then.

Used by whoever opens a registry. Always: what the operator has set stays.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from importlib.metadata import entry_points
from typing import Final

from registry_client.tracking_uri import is_tracking_uri

VARIABLES: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Standard output belongs to a command's result.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Its log goes where the process's own goes, in the same form.
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}

_importing = threading.Lock()


def set_variables() -> None:
    """Those that are not set."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)


def import_client_alone(location: str) -> None:
    """Imports MLflow's client without pandas: half a second and 50 MiB, for datasets that a registry never sees.

    Only for processes that are Roost's own: MLflow takes no table for a dataset in this one from then on. Whoever
    imports pandas afterwards gets it; no other thread may do so meanwhile. Does nothing where the location is a folder,
    either is imported already, MLflow is not installed, or it has plugins: they are imported with it, and may need
    pandas.
    """
    if not is_tracking_uri(location):
        return
    with _importing:
        if "pandas" in sys.modules or "mlflow" in sys.modules or _has_plugins():
            return
        set_variables()
        sys.modules["pandas"] = None  # type: ignore[assignment]  # what stands there as None can't be imported
        try:
            with contextlib.suppress(ImportError):  # opening the registry says what is missing
                importlib.import_module("mlflow.tracking")
        finally:
            del sys.modules["pandas"]


def _has_plugins() -> bool:
    """MLflow's own distributions have entry points in its groups, too."""
    found = entry_points()
    points = [point for group in found.groups if group.startswith("mlflow.") for point in found.select(group=group)]
    return any(point.value.partition(".")[0].partition(":")[0] != "mlflow" for point in points)
