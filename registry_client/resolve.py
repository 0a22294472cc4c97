"""What references mean now, found out by a process of its own.

    python -m registry_client.resolve LOCATION CACHE NAME...

Used by the server's parent, which must not import MLflow. Brings each bundle into the cache, verified, and prints one
line of JSON for each NAME, NAME@ALIAS or NAME:VERSION: name, version, digest, and the model's tags where it has any.
Exit code 1: not there, or not what it should be; 3: the registry does not answer.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError, RegistryUnavailable
from registry_client.mlflow_environment import import_client_alone
from registry_client.opening import open_registry
from registry_client.registry import parse_target

EXIT_REFUSED = 1
EXIT_UNAVAILABLE = 3


def main(arguments: list[str]) -> int:
    location, cache, *targets = arguments
    gc.disable()  # it ends soon: to look for what could be freed takes a tenth of its time
    import_client_alone(location)
    try:
        registry = open_registry(location, must_exist=True)
        for target in targets:
            found = registry.resolve(*parse_target(target))
            registry.fetch(found, BundleCache(Path(cache)))
            line = {"name": found.name, "version": str(found.version), "digest": found.digest}
            tags = dict(registry.model_tags(found.name))
            print(json.dumps({**line, "tags": tags} if tags else line), flush=True)
    except RegistryUnavailable as error:
        print(error, file=sys.stderr)
        return EXIT_UNAVAILABLE
    except ArtifactError as error:
        print(f"{error}", file=sys.stderr)
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
