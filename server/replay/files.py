"""The files of a replay: opened, looked at before anything is run, and given as one stream of rows.

Used by the command. Always: what a file lacks is refused or said at once, not after an hour; a recording says
itself which of its columns are what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from registry_client.baseline.mapping import meaning_columns
from registry_client.baseline.parquet import ParquetRows
from registry_client.baseline.recording import KEY_BUCKET, TIME, Recording, read_recording
from registry_client.baseline.rows import ModelRows, Source
from registry_client.errors import BadDocument
from registry_client.golden import Run
from server.replay.keys import KeyBuckets
from server.replay.merging import merged
from server.replay.reading import FedFile, RecordedFile, Rows, RowsFile
from server.replay.subject import Subject, as_recorded, without_predictions
from server.replay.times import EvenClock


@dataclass(frozen=True)
class Choices:
    """How files are read. time, key: columns. even: a made-up clock, in place of `time`. columns: the mapping file.

    recorded: of recordings, only what this very artifact has answered, as it was answered.
    """

    time: str | None = None
    key: str | None = None
    even: EvenClock | None = None
    columns: Mapping[str, tuple[str, ...]] | None = None
    recorded: bool = False


@dataclass(frozen=True)
class Opened:
    """subject: with what the files say nothing of left out. rows: of all files. notes: a sentence each."""

    subject: Subject
    rows: int
    notes: tuple[str, ...]
    _files: tuple[RowsFile, ...]
    _even: EvenClock | None

    def in_order(self) -> Iterator[Rows]:
        """All rows, each with its time, none earlier than the one before. Raises BadDocument."""
        if self._even is None:
            yield from merged(self._files)
            return
        done = 0
        for file in self._files:
            for rows in file.pieces():
                yield replace(rows, times_us=self._even.times(done, len(rows)))
                done += len(rows)


def open_files(subject: Subject, paths: Sequence[Path], choices: Choices) -> Opened:
    """Raises BadDocument, and what running the model raises."""
    recordings = {path: read_recording(ParquetRows(path).metadata, f"{path}: its notes") for path in paths}
    if choices.recorded:
        return _recorded(subject, recordings)
    return _fed(subject, recordings, choices)


def paths_of(given: Sequence[Path]) -> list[Path]:
    """The files, those of each folder in the order of their names. Raises BadDocument for a folder without any."""
    found: list[Path] = []
    for path in given:
        inside = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not inside:
            raise BadDocument(f"{path}", expected="a folder with .parquet files", got="none there", hint="Give files.")
        found += inside
    return found


def _recorded(subject: Subject, recordings: Mapping[Path, Recording | None]) -> Opened:
    known = {}
    for path, recording in recordings.items():
        if recording is None:
            raise BadDocument(
                f"{path}", expected="a recording, for --recorded", got="a file without a recording's notes",
                hint="Leave --recorded out: the model is run over its rows.",
            )  # fmt: skip
        known[path] = recording
    kept = as_recorded(subject, list(known.values()))
    keys = KeyBuckets()
    files = tuple(RecordedFile(kept, path, recording, keys) for path, recording in known.items())
    notes = [f"left out, since a recording has them redacted: {', '.join(kept.left_out)}"] if kept.left_out else []
    return Opened(kept, sum(file.rows for file in files), tuple(notes), files, None)


def _fed(subject: Subject, recordings: Mapping[Path, Recording | None], choices: Choices) -> Opened:
    sources = [_source(subject, path, recording, choices) for path, recording in recordings.items()]
    notes: list[str] = []
    run: Run | None = None
    if subject.has_predictions:
        unfed = {name: source.path for source in sources for name in ModelRows(subject.signature, source).unfed}
        if unfed:
            name, path = next(iter(unfed.items()))
            notes.append(f"{path} has no column for input {name}: predictions are not judged")
            subject = without_predictions(subject)
        else:
            from registry_client.reference_run import ReferenceRun

            run = ReferenceRun(subject.bundle.model_bytes, subject.signature)
    keys = KeyBuckets()
    files = tuple(
        FedFile(
            subject, source, run, keys, key=next(iter(source.beside), None), has_buckets=choices.key is None
        )
        for source in sources
    )  # fmt: skip
    return Opened(subject, sum(file.rows for file in files), tuple(notes), files, choices.even)


def _source(subject: Subject, path: Path, recording: Recording | None, choices: Choices) -> Source:
    """Where the file's rows are: its columns as they were chosen, else as a recording says."""
    explicit, key, time = choices.columns, choices.key, choices.time
    if recording is not None:
        inputs = {name for names in recording.inputs.values() for name in names}
        if gone := sorted(inputs & recording.redacted):
            raise BadDocument(
                f"{path}", expected="all inputs of the model, to run it", got=f"{', '.join(gone)[:300]} redacted",
                hint="With --recorded its recorded answers are taken, and these features are left out.",
            )  # fmt: skip
        explicit = recording.inputs if explicit is None else explicit
        key = KEY_BUCKET if key is None else key
        time = TIME if time is None else time
    if choices.even is not None:
        time = None
    elif time is None:
        raise BadDocument(
            "--time", expected="the column that says when each row came", got=f"none, and {path} is no recording",
            hint="Rows without times: --rows-per-second gives them a made-up clock.",
        )  # fmt: skip
    meaning, _ = meaning_columns(subject.bundle.manifest.meaning)
    return Source(path, time=time, meaning=meaning, explicit=explicit, beside=() if key is None else (key,))
