"""From records to a promoted model: one definition an example, one file a stage, the same stages for all.

snapshot -> features -> train -> evaluate -> bundle -> register, and then deploy. `commands.py` is what people type,
`stages/` what runs, `employment/` and `flights/` are examples. Always: the same records, parameters and code give the
same bundle, byte for byte, on processors that add alike; what depends on the day, the host or the registry's state
hangs beside it, never inside.
"""

from typing import Final

import registry_client  # noqa: F401  # before ONNX Runtime, whose telemetry it turns off

STAGES: Final = ("snapshot", "features", "train", "evaluate", "bundle", "register")
"""In their order; deploy comes after them, and is no stage that could be repeated."""
