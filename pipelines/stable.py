"""What is stable of a model in a registry: what the next version is compared with, and replaced by.

Used by the register and deploy stages and by `roost train`. Always: light to import; that nothing is stable is said
only where nothing could be: an alias that is gone, or points at what Roost did not make, is somebody's to mend.
"""

from __future__ import annotations

from pipelines.refusal import Refusal
from registry_client.errors import NotInRegistry, NotOurs
from registry_client.names import USUAL_ALIAS
from registry_client.registry import Registry, Version


def stable_version(registry: Registry, name: str) -> Version | None:
    """The version that the alias names now, or None where the registry has no such model or alias. Raises NotOurs."""
    try:
        return registry.resolve(name, f"@{USUAL_ALIAS}")
    except NotOurs:
        raise
    except NotInRegistry:
        return None


def is_first(registry: Registry, name: str, digest: str = "") -> bool:
    """Whether nothing is stable because nothing was there yet, but for the version of `digest`.

    Raises Refusal where there are versions and none of them is stable: the next one must not become it unseen.
    """
    if stable_version(registry, name) is not None:
        return False
    try:
        others = [version for version in registry.versions(name) if version.digest != digest]
    except NotInRegistry:
        others = []
    if others:
        raise Refusal(
            f"{name}@{USUAL_ALIAS}", expected="a version to be compared with", got=f"none of {len(others)} others",
            hint=f"Say which one is stable: roost pull {name}:{others[-1].version} --out DIR, then "
            f"roost push DIR --alias {USUAL_ALIAS}.",
        )  # fmt: skip
    return True
