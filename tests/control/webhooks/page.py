"""What docs/reference/webhooks.md holds: the page, and the function that it gives to receivers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).resolve().parents[3] / "docs/reference/webhooks.md").read_text()


def _snippet() -> Callable[..., bool]:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/reference/webhooks.md", "exec"), names)
    found: Callable[..., bool] = names["verified"]
    return found


verified = _snippet()
