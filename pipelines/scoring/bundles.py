"""The bundle that a command names: a folder's, or a registry's version. Used by `roost score`. Always: verified."""

from __future__ import annotations

import tempfile
from pathlib import Path

from registry_client.cache import BundleCache
from registry_client.opening import open_registry
from registry_client.registry import parse_target
from registry_client.verify import VerifiedBundle, read_verified


def bundle_of(target: str, registry: str) -> VerifiedBundle:
    """Raises ArtifactError where it is not there, or not what its manifest says."""
    if Path(target).is_dir():
        return read_verified(Path(target))
    opened = open_registry(registry, must_exist=True)
    with tempfile.TemporaryDirectory(prefix="roost-score-") as folder:
        return opened.fetch(opened.resolve(*parse_target(target)), BundleCache(Path(folder)))
