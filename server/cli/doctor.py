"""`roost doctor`: what this machine lacks for serving, and how to mend it.

Always: exit code 1 where something that serving needs is missing; a warning alone is 0. Changes nothing but a probe
file in the kernel cache, which is removed.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from native.cache import KERNEL_CACHE_VARIABLE, kernel_cache_folder
from native.library import LibraryMissing, find_library, load_library
from server.cli.configuration import ConfigurationError, load_settings
from server.cli.neighbours import is_roost
from server.cli.sockets import held_port
from server.settings import Settings

PYTHON_MIN: Final = (3, 11)
SPARE_DESCRIPTORS: Final = 256  # what a worker holds besides connections: libraries, the plane, caches, its logs
LIBRARIES: Final = ("numpy", "numba", "onnxruntime", "uvloop", "grpc")


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """remedy: what to do about it; empty where all is well."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def doctor(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings as TOML: its ports are tried.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say what is missing on this machine, and how to mend it."""
    try:
        settings = load_settings({}, os.environ, config)
    except ConfigurationError as error:
        for line in error.lines:
            print(f"roost: {line}", file=sys.stderr)
        raise typer.Exit(2) from None
    findings = list(examine(settings))
    missing = any(finding.verdict is Verdict.MISSING for finding in findings)
    if as_json:
        print(json.dumps({"ok": not missing, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            print(f"{finding.verdict:<8} {finding.name:<18} {finding.found}")
            if finding.remedy:
                print(f"{'':<27} -> {finding.remedy}")
    raise typer.Exit(1 if missing else 0)


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, in the order in which a start would meet them."""
    yield python()
    yield system()
    for name in LIBRARIES:
        yield library(name)
    yield libnghttp2(settings)
    yield kernel_cache(kernel_cache_folder())
    yield descriptors(settings)
    for key in ("listen", "http", "admin"):
        yield port(f"server.{key}", getattr(settings.server, key))


def python() -> Finding:
    found = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.version_info[:2] < PYTHON_MIN:
        return Finding("Python", Verdict.MISSING, found, "Install CPython 3.11 or newer.")
    return Finding("Python", Verdict.OK, found)


def system() -> Finding:
    """Processes share a memfd, and children are tied to the parent by prctl: both are Linux's."""
    found = f"{platform.system()} {platform.machine()}"
    if not hasattr(os, "memfd_create"):
        return Finding("system", Verdict.MISSING, found, "Run it on Linux, in a container for example.")
    return Finding("system", Verdict.OK, found)


def library(name: str, load: Callable[[str], object] = importlib.import_module) -> Finding:
    try:
        loaded = load(name)
    except (ImportError, OSError) as error:
        return Finding(name, Verdict.MISSING, str(error), "Install roost-server again: pip install --force-reinstall .")
    return Finding(name, Verdict.OK, str(getattr(loaded, "__version__", "")))


def libnghttp2(settings: Settings) -> Finding:
    """Without it the grpcio listener serves, unless the settings insist on the fast lane."""
    found = find_library()
    if found is not None:
        return Finding("libnghttp2", Verdict.OK, f"{found.version} ({found.path})")
    verdict = Verdict.MISSING if settings.server.listener == "fast" else Verdict.WARNING
    try:
        load_library()
    except LibraryMissing as error:
        return Finding("libnghttp2", verdict, "none: the slower grpcio listener would serve", str(error))
    return Finding("libnghttp2", verdict, "appeared just now", "Run `roost doctor` again.")


def kernel_cache(folder: Path) -> Finding:
    """Compiled kernels are kept there; without it every start compiles for several seconds."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            return Finding("kernel cache", Verdict.OK, str(folder))
    except OSError as error:
        remedy = f"Make it writable, or name another folder in {KERNEL_CACHE_VARIABLE}."
        return Finding("kernel cache", Verdict.MISSING, f"{folder}: {error.strerror}", remedy)


def descriptors(settings: Settings) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.limits.connections_max + SPARE_DESCRIPTORS
    found = f"{soft} (at most {hard})"
    if soft < needed:
        remedy = (
            f"Raise it with `ulimit -n {needed}`, or set limits.connections_max to {max(soft - SPARE_DESCRIPTORS, 1)}."
        )
        return Finding("open files", Verdict.WARNING, f"{found}, a worker may need {needed}", remedy)
    return Finding("open files", Verdict.OK, found)


def port(key: str, address: str) -> Finding:
    try:
        held_port(key, address).close()
    except ConfigurationError as error:
        if is_roost(key, address):
            return Finding(key, Verdict.OK, f"{address}, where a Roost server answers already")
        return Finding(key, Verdict.MISSING, address, error.lines[0])
    return Finding(key, Verdict.OK, address)
