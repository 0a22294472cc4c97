"""What is stable of a model in a registry: what the next version is compared with, and replaced by.

Used by the register and deploy stages and by `roost train`. Always: light to import.
"""

from __future__ import annotations

from registry_client.errors import NotInRegistry
from registry_client.names import USUAL_ALIAS
from registry_client.registry import Registry, Version


def stable_version(registry: Registry, name: str) -> Version | None:
    """The version that the alias names now, or None where the registry has no such model or alias."""
    try:
        return registry.resolve(name, f"@{USUAL_ALIAS}")
    except NotInRegistry:
        return None
