"""Whether versions are signed by somebody who counts, found out by a process of its own before a server starts.

    python -m registry_client.signing.check < JSON

Used by the server's parent, which imports neither MLflow nor model-signing. The document: `location` of the registry,
`cache`, `signers` as NAME=FILE, and `versions`, each with `name`, `version` and `digest`. Prints one line of JSON for
each: `name`, `signer`. What the cache holds, bundle and signature, needs no registry. Exit code 1: one line on standard
error for each version that may not be served.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from registry_client.attachments import Attachments
from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError
from registry_client.mlflow_environment import import_client_alone
from registry_client.opening import open_registry
from registry_client.registry import Registry, Version
from registry_client.signing.vouching import Vouching, open_vouching
from registry_client.verify import VerifiedBundle


def main(document: str) -> int:
    asked = json.loads(document)
    location: str = asked["location"]
    import_client_alone(location)
    refused = False

    @cache
    def registry() -> Registry:
        return open_registry(location, must_exist=True)

    try:
        vouching = open_vouching(asked["signers"], BundleCache(Path(asked["cache"])))
    except ArtifactError as error:
        print(error, file=sys.stderr)
        return 1
    for each in asked["versions"]:
        version = Version(each["name"], int(each["version"]), each["digest"], (), {})
        try:
            signer = _signer_of(version, vouching, registry)
            print(json.dumps({"name": version.name, "signer": signer}), flush=True)
        except ArtifactError as error:
            print(f"model {version.name}: {error}", file=sys.stderr)
            refused = True
    return int(refused)


def _signer_of(version: Version, vouching: Vouching, registry: Callable[[], Registry]) -> str:
    def attachments() -> Attachments:
        return registry().attachments(version.name, version.version)

    bundle = _bundle_of(version, vouching.cache, registry)
    return vouching.signer_of(bundle, str(version.version), attachments).name


def _bundle_of(version: Version, cache: BundleCache, registry: Callable[[], Registry]) -> VerifiedBundle:
    """From the cache; from the registry, into it, where it lacks the bundle."""
    try:
        return cache.get(version.digest)
    except ArtifactError:
        return registry().fetch(version, cache)


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
