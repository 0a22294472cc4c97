"""ONNX Runtime through its C API: sessions that are made, run, ended and freed without the GIL.

Importing this package turns its telemetry off, as importing `registry_client` does, which may not be there.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
