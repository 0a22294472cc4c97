"""Recorded rows on disk: gathered into blocks, written as Parquet files, deleted when they are old or too many.

Used by `recording`, in its thread; pyarrow is imported here, and only where rows are recorded. Always: a file that
bears its name is whole; nobody but its owner may read it; the folder has at most `record.bytes_max` of them, and one
more while it is written.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from native.drift.buckets import buckets_of
from registry_client.baseline.recording import DIGEST, KEY_BUCKET, METADATA_KEY, TIME, VARIANT, VERSION, Recording
from registry_client.tensors import Datatype, TensorSpec
from server.settings import RecordSettings

Array = npt.NDArray[Any]
Words = npt.NDArray[np.int64]

SUFFIX: Final = ".parquet"
PARTIAL_SUFFIX: Final = ".partial"
# As `_write` names them: the folder may hold other people's files, too.
WRITTEN: Final = re.compile(r"\d{8}T\d{6}Z-.+-\d{5,}\.parquet")
PARTIAL: Final = re.compile(rf"\.{WRITTEN.pattern}\.partial")
BLOCKS_MAX: Final = 256  # then they are made one: small batches would take more memory than their rows
PENDING_BYTES_MAX: Final = 64 << 20  # of one model's file in the making
PARTIAL_AGE_S: Final = 3600.0  # a file that is written for longer was left behind by a process that has ended
DAY_S: Final = 86_400.0
FILE_MODE, FOLDER_MODE = 0o600, 0o700


class FileTooLarge(Exception):
    """One file has more than all may have together."""


class Answerer(NamedTuple):
    """Who answered rows."""

    version: str
    digest: str
    variant: str


@dataclass(frozen=True, eq=False)
class Layout:
    """How one model's rows are recorded. specs: its tensors, inputs first. names: by tensor its columns'."""

    recording: Recording
    specs: tuple[TensorSpec, ...]

    @property
    def row_bytes(self) -> int:
        return sum(spec.row_bytes for spec in self.specs)

    def columns(self, arrays: tuple[Array, ...]) -> Iterator[tuple[str, Array]]:
        """Names and values, [n] each, of all that is not redacted. arrays: [n, ...] for each of `specs`."""
        tensors = (*self.recording.inputs.values(), *self.recording.outputs.values())
        for spec, names, array in zip(self.specs, tensors, arrays, strict=True):
            rows = array.reshape(len(array), -1)
            for index, name in enumerate(names):
                if name not in self.recording.redacted:
                    yield name, _readable(spec, np.ascontiguousarray(rows[:, index]))


@dataclass(frozen=True, eq=False)
class Block:
    """n rows. times_us: UTC. keyed, hashes: 1 and the hash of the key, where there was one. answerers: int32, places.

    arrays: [n, ...], for each tensor of the layout.
    """

    times_us: Words
    keyed: Words
    hashes: Words
    answerers: npt.NDArray[np.int32]
    arrays: tuple[Array, ...]


@dataclass
class _Pending:
    """A file in the making. begun_s: when its first row came, monotonic; at_us: the same in UTC."""

    layout: Layout
    begun_s: float
    at_us: int
    rows: int = 0
    answerers: dict[Answerer, int] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def add(self, block: Block) -> None:
        self.rows += len(block.times_us)
        self.blocks.append(block)
        if len(self.blocks) > BLOCKS_MAX:
            self.blocks = [_joined(self.blocks)]


class RecordedFiles:
    """Of one worker. Call `begin` first. name: tells its files from those of others; files of all share the folder."""

    def __init__(self, settings: RecordSettings, name: str) -> None:
        assert settings.folder is not None
        self._settings = settings
        self._folder = settings.folder
        self._name = name
        self._number = 0
        self._pending: dict[tuple[str, str], _Pending] = {}  # by model and digest: versions answer side by side
        self._arrow: Any = None
        self._parquet: Any = None

    def begin(self) -> None:
        """Raises ImportError where pyarrow is missing."""
        import pyarrow
        import pyarrow.parquet

        self._arrow, self._parquet = pyarrow, pyarrow.parquet

    @property
    def rows(self) -> int:
        """That are in memory still."""
        return sum(pending.rows for pending in self._pending.values())

    @property
    def due_s(self) -> float | None:
        """When the next file is to be written, monotonic; None where there is none in the making."""
        begun = [pending.begun_s for pending in self._pending.values()]
        return min(begun) + self._settings.seconds_per_file if begun else None

    def add(
        self, model: str, layout: Layout, answerer: Answerer, at_us: int, keyed: Words, hashes: Words,
        arrays: tuple[Array, ...],
    ) -> int:  # fmt: skip
        """Rows of one batch; how many were written to disk for that. Raises what writing raises."""
        key, written = (model, answerer.digest), 0
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = _Pending(layout, time.monotonic(), at_us)
        place = pending.answerers.setdefault(answerer, len(pending.answerers))
        rows = len(keyed)
        pending.add(Block(np.full(rows, at_us), keyed, hashes, np.full(rows, place, dtype=np.int32), arrays))
        if pending.rows >= self._settings.rows_per_file or pending.rows * layout.row_bytes >= PENDING_BYTES_MAX:
            written += self._write(key)
        return written

    def write_due(self) -> int:
        """Writes what has waited for long enough; how many rows."""
        now_s = time.monotonic()
        due = [
            key
            for key, pending in self._pending.items()
            if now_s - pending.begun_s >= self._settings.seconds_per_file
        ]
        return sum(self._write(key) for key in due)

    def write_all(self) -> int:
        """Writes what there is; how many rows."""
        return sum(self._write(key) for key in list(self._pending))

    def tidy(self, more_bytes: int = 0) -> None:
        """Deletes files that are too old, and the oldest until so many bytes more have room. Raises FileTooLarge."""
        limit = self._settings.bytes_max
        if more_bytes > limit:
            raise FileTooLarge(f"record.bytes_max: expected room for one file, {more_bytes} bytes, got {limit}")
        now_s = time.time()
        found = sorted(_files_of(self._folder, WRITTEN))
        left = sum(file.size for file in found) + more_bytes
        for file in found:
            if now_s - file.written_s <= self._settings.keep_days * DAY_S and left <= limit:
                break
            file.path.unlink(missing_ok=True)  # another worker may have been first
            left -= file.size
        for file in _files_of(self._folder, PARTIAL):
            if now_s - file.written_s > PARTIAL_AGE_S:
                file.path.unlink(missing_ok=True)

    def _write(self, key: tuple[str, str]) -> int:
        pending = self._pending[key]
        table = self._table(pending)
        folder = self._folder / key[0]
        self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
        begun = datetime.fromtimestamp(pending.at_us / 1e6, UTC)
        name = f"{begun:%Y%m%dT%H%M%SZ}-{self._name}-{self._number:05}{SUFFIX}"
        partial = folder / f".{name}{PARTIAL_SUFFIX}"
        try:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            with os.fdopen(descriptor, "wb") as file:
                self._parquet.write_table(table, file, compression="zstd")
                file.flush()
                os.fsync(descriptor)
                size = os.fstat(descriptor).st_size
            self.tidy(size)
            partial.rename(folder / name)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._number += 1
        del self._pending[key]
        return pending.rows

    def _table(self, pending: _Pending) -> Any:
        arrow, block = self._arrow, _joined(pending.blocks)
        buckets = np.zeros(pending.rows, dtype=np.uint8)
        buckets_of(block.keyed, block.hashes, buckets)
        places = block.answerers.tolist()
        names = [_texts(arrow, texts, places) for texts in zip(*pending.answerers, strict=True)]
        columns = {
            TIME: _column(arrow, block.times_us, kind=arrow.timestamp("us", tz="UTC")),
            KEY_BUCKET: _column(arrow, buckets, known=block.keyed != 0),
            **dict(zip((VERSION, DIGEST, VARIANT), names, strict=True)),
            **{name: _column(arrow, values) for name, values in pending.layout.columns(block.arrays)},
        }
        table = arrow.Table.from_arrays(list(columns.values()), names=list(columns))
        return table.replace_schema_metadata({METADATA_KEY: pending.layout.recording.to_bytes()})


# Not with `arrow.array` and `arrow.table`, which look for pandas, nor with `cast` and `take`, which want its compute
# functions: to import them holds the GIL, and so the worker's loop, for a quarter of a second.
def _column(arrow: Any, values: Array, *, known: npt.NDArray[np.bool_] | None = None, kind: Any = None) -> Any:
    """Arrow's array of [n] numbers or booleans. known: bool[n], False where it has none. kind: other than numpy's."""
    data = np.packbits(values, bitorder="little") if values.dtype == np.bool_ else np.ascontiguousarray(values)
    validity = None if known is None else arrow.py_buffer(np.packbits(known, bitorder="little"))
    kind = arrow.from_numpy_dtype(values.dtype) if kind is None else kind
    return arrow.Array.from_buffers(kind, len(values), [validity, arrow.py_buffer(data)])


def _texts(arrow: Any, texts: tuple[str, ...], places: list[int]) -> Any:
    """Arrow's array of the texts at these places."""
    encoded = [text.encode() for text in texts]
    chosen = [encoded[place] for place in places]
    offsets = np.cumsum([0, *map(len, chosen)], dtype=np.int32)
    return arrow.StringArray.from_buffers(len(chosen), arrow.py_buffer(offsets), arrow.py_buffer(b"".join(chosen)))


class _File(NamedTuple):
    """In the order in which they are deleted."""

    written_s: float
    path: Path
    size: int


def _files_of(folder: Path, name: re.Pattern[str]) -> Iterator[_File]:
    """Of all models, those with such a name: others are somebody else's. One that goes meanwhile is left out."""
    try:
        models = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    for model in models:
        for entry in os.scandir(model):
            if name.fullmatch(entry.name):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield _File(status.st_mtime, Path(entry.path), status.st_size)


def _joined(blocks: list[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    arrays = tuple(np.concatenate(parts) for parts in zip(*(block.arrays for block in blocks), strict=True))
    return Block(
        np.concatenate([block.times_us for block in blocks]),
        np.concatenate([block.keyed for block in blocks]),
        np.concatenate([block.hashes for block in blocks]),
        np.concatenate([block.answerers for block in blocks]),
        arrays,
    )


def _readable(spec: TensorSpec, values: Array) -> Array:
    """As other programs read them: Parquet has no BF16, which is the upper half of a float32."""
    if spec.datatype is Datatype.BF16:
        return np.asarray((values.astype(np.uint32) << 16).view(np.float32))
    return values
