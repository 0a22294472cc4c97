"""Artifacts and registries of them. Importing this package turns ONNX Runtime's telemetry off, unless the operator has
set the variable: its releases for Linux report sessions to their maker from 1.29 on, and what a server runs is nobody
else's business. It reads the variable when it makes its environment, at a process's first session or import.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
