"""How models, aliases and versions may be called: one set of patterns for the registry and for the server's settings.

Imports nothing, so that the settings may have it. Always: an alias never looks like a version.
"""

from __future__ import annotations

import re
from typing import Final

MODEL_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Not `latest`, which would look like a version that moves by itself, and not v1 or 1, which look like versions.
ALIAS: Final = re.compile(r"(?!latest$)(?!v?[0-9]+$)[a-z0-9][a-z0-9_-]{0,62}")
VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
USUAL_ALIAS: Final = "stable"
"""What a model's bare name means, where the model has this alias; its newest version otherwise."""
