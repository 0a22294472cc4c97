"""The very model that a server serves, read from where the server has it, so that replies can be checked against it.

Used by load profiles. Bundles and registries are read through their verified load: a profile never judges a server by
a model that is not the one of that digest.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError
from registry_client.opening import open_registry
from registry_client.registry import parse_target
from registry_client.verify import read_verified


def of_file(file: Path) -> bytes:
    """The bytes of an ONNX file, for a server of `--onnx`. Raises OSError."""
    return file.read_bytes()


def of_bundle(folder: Path) -> bytes:
    """The verified model bytes of a bundle. Raises ValueError in the words of what failed."""
    try:
        return read_verified(folder).model_bytes
    except ArtifactError as error:
        raise ValueError(str(error)) from error


def of_registry(location: Path | str, model: str, alias: str) -> bytes:
    """The verified model bytes of the version that `alias` points at now. Raises ValueError as `of_bundle` does."""
    try:
        return _fetched(location, f"{model}@{alias}")
    except ArtifactError as error:
        raise ValueError(f"{error} --onnx FILE or --bundle FOLDER name the served model elsewhere.") from error


def of_version(location: Path | str, model: str, version: str) -> bytes:
    """The verified model bytes of a version. Raises ValueError as `of_bundle` does."""
    try:
        return _fetched(location, f"{model}:{version}")
    except ArtifactError as error:
        raise ValueError(str(error)) from error


def _fetched(location: Path | str, target: str) -> bytes:
    name, reference = parse_target(target)
    registry = open_registry(str(location))
    with tempfile.TemporaryDirectory() as scratch:
        return registry.fetch(registry.resolve(name, reference), BundleCache(Path(scratch))).model_bytes
