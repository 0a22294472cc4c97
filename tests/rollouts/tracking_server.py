"""MLflow's own tracking server in a process, which can be killed and started again on the same port and database.

`mlflow server` wants packages of its assistants and gateways; the application that answers for the registry does not.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from mlflow.server.constants import (
    ARTIFACT_ROOT_ENV_VAR,
    ARTIFACTS_DESTINATION_ENV_VAR,
    BACKEND_STORE_URI_ENV_VAR,
    SERVE_ARTIFACTS_ENV_VAR,
)

START_S_MAX = 100.0


class TrackingServer:
    """Use as a context manager. uri: where it listens, on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self._port = taken.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {
            BACKEND_STORE_URI_ENV_VAR: f"sqlite:///{self._folder / 'mlflow.db'}",
            ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
            ARTIFACTS_DESTINATION_ENV_VAR: str(self._folder / "artifacts"),
            SERVE_ARTIFACTS_ENV_VAR: "true",
        }
        command = [sys.executable, "-m", "flask", "--app", "mlflow.server:app", "run", "--port", str(self._port)]
        with (self._folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_S_MAX
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "mlflow.log").read_text()[-3000:]
            assert time.monotonic() < deadline, (self._folder / "mlflow.log").read_text()[-3000:]
            time.sleep(0.1)

    def stop(self) -> None:
        """kill -9: nothing is said to anybody."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> TrackingServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
