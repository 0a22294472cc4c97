"""The version of this distribution, as shown by `roost version`, the metrics and the protocol's ServerMetadata.

Always: it is the installed distribution's where there is one, so that it is written down once, in pyproject.toml.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

DISTRIBUTION: Final = "roost-server"


def _version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0+source"  # run from a checkout that was never installed


VERSION: Final = _version()
