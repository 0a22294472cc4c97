"""Artifacts and registries of them. Importing this package turns ONNX Runtime's telemetry off, unless the operator has
set the variable: its releases for Linux report sessions to their maker from 1.29 on, and what a server runs is nobody
else's business. It reads the variable as it is imported, or makes its environment: packages that do either import this
one first.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = os.environ.get("ORT_DISABLE_TELEMETRY") or "1"
