"""Files that are named on the command line, read within a bound. Used by the commands that make bundles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from registry_client import canonical_json
from registry_client.errors import BadDocument

JSON_FILE_BYTES_MAX = 64 << 20


def read_file(path: Path, bytes_max: int) -> bytes:
    """Raises BadDocument where the file is longer."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise BadDocument(str(path), expected=f"at most {bytes_max} bytes", got=f"{size}", hint="Give a smaller file.")
    return content


def read_json_object(path: Path) -> dict[str, Any]:
    """Raises BadDocument where the file holds something else than one JSON object."""
    found = canonical_json.parse(read_file(path, JSON_FILE_BYTES_MAX), str(path))
    if not isinstance(found, dict):
        got = canonical_json.type_name(found)
        raise BadDocument(str(path), expected="an object", got=got, hint="Put it into {}.")
    return found
