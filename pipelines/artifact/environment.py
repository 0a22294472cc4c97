"""Environment: which libraries made the artifact, as a lock that installs them again, and their versions by name.

Used by the bundle stage. Always: the lock goes into the bundle as it lies in `locks/`, byte for byte, and only where
what is installed is what it pins, so that it tells of the run and not of a wish.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement

from pipelines.refusal import Refusal

TRAIN_LOCK: Final = Path(__file__).parents[2] / "locks" / "train.lock"
LIBRARIES: Final = (
    "datasketches", "deltalake", "lightgbm", "matplotlib", "numpy", "onnx", "onnxmltools", "onnxruntime", "pandas",
    "pyarrow", "scikit-learn", "scipy", "shap", "skl2onnx",
)  # fmt: skip
"""Those whose version may change a byte of the bundle."""

_SETUP: Final = "Install what the lock pins: make setup."

Installed = Callable[[str], str | None]


def installed_version(name: str) -> str | None:
    """The version of a distribution that is installed here; None where it is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def locked_environment(lock: Path = TRAIN_LOCK, installed: Installed = installed_version) -> bytes:
    """The lock's bytes. Raises Refusal, naming the first library that is missing or of another version here."""
    try:
        content = lock.read_bytes()
        pinned = dict(_pins(content.decode("utf-8")))
    except (OSError, ValueError) as error:
        raise Refusal(
            str(lock), expected="a lock of pinned versions", got=" ".join(str(error).split())[:200],
            hint="Take it from version control, or make it anew: make lock.",
        ) from error  # fmt: skip
    for name, wanted in pinned.items():
        found = installed(name)
        if found != wanted:
            got = "none installed" if found is None else found
            raise Refusal(f"library {name}", expected=f"{wanted}, as {lock.name} pins it", got=got, hint=_SETUP)
    if missing := [name for name in LIBRARIES if name not in pinned]:
        raise Refusal(lock.name, expected=f"a pin of {missing[0]}", got="none", hint="Make the lock anew: make lock.")
    return content


def environment_lineage(installed: Installed = installed_version) -> dict[str, Any]:
    """`python`: its minor version, "3.11". `libraries`: by name the version, of LIBRARIES."""
    libraries: Mapping[str, str | None] = {name: installed(name) for name in LIBRARIES}
    return {"python": ".".join(platform.python_version_tuple()[:2]), "libraries": libraries}


def _pins(text: str) -> Iterator[tuple[str, str]]:
    """By library its version, of the lines that hold for this interpreter and machine. Raises ValueError."""
    for line in text.splitlines():
        if not line or line[0] in " #":
            continue
        try:
            requirement = Requirement(line.removesuffix("\\").strip())
        except InvalidRequirement as error:
            raise ValueError(f"{line[:80]!r}: {error}") from error
        pins = [one.version for one in requirement.specifier if one.operator == "=="]
        if len(pins) != 1:
            raise ValueError(f"{line[:80]!r} pins no version")
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement.name, pins[0]
