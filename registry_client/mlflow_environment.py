"""How MLflow's client behaves here: set before it is imported, since it reads the environment then.

Always: what the operator has set stays.
"""

from __future__ import annotations

import os
from typing import Final

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


def set_variables() -> None:
    """Those that are not set."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
