"""A process of `test_registry.py`: pushes the bundles it is given into one registry, and prints their versions.

Usage: pushing_process.py REGISTRY GATE BUNDLE...; it starts when the file GATE is there, so that several start at once.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from registry_client.folder import FolderRegistry


def main() -> None:
    registry, gate, *bundles = (Path(argument) for argument in sys.argv[1:])
    print("ready", flush=True)
    while not gate.exists():
        time.sleep(0.001)
    for bundle in bundles:
        version = FolderRegistry(registry).push(bundle, aliases=("stable",))
        print(version.version, version.digest, flush=True)


if __name__ == "__main__":
    main()
