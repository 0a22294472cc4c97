"""Register: the bundle into a registry, under an alias that servers follow. Last stage.

Always: the alias moves, if at all, only after the bundle was read back, verified, and its golden examples came out as
recorded on a session built from those very bytes.
"""

from __future__ import annotations

from pathlib import Path

from registry_client.errors import NotInRegistry
from registry_client.opening import open_registry
from registry_client.reference_run import ReferenceRun
from registry_client.registry import Version
from registry_client.verify import check_contents, read_verified

ALIAS = "stable"


def register(bundle_folder: Path, registry: str, *, digest: str, candidate: bool = False) -> Version:
    """The version, which the alias now names unless it is a candidate. The same bundle again is the version it was."""
    verified = read_verified(bundle_folder, digest)
    check_contents(verified, ReferenceRun(verified.model_bytes, verified.manifest.signature))
    return open_registry(registry).push(bundle_folder, aliases=() if candidate else (ALIAS,))


def registered(registry: str, name: str) -> Version | None:
    """The version that the alias names now, or None."""
    try:
        return open_registry(registry).resolve(name, f"@{ALIAS}")
    except NotInRegistry:
        return None
