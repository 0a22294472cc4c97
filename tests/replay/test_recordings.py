"""Recordings as a worker's writer leaves them: replayed by the model, or as it was answered, with columns left out."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from registry_client.baseline.document import Feature, Kind
from registry_client.baseline.recording import OWN_COLUMNS, read_recording, recording_of
from registry_client.errors import BadDocument
from registry_client.tensors import Datatype, Signature, TensorSpec
from server.replay.files import Choices, Opened, open_files, paths_of
from server.replay.subject import Subject
from server.settings import RecordSettings
from server.worker.counting import bucket_of_call
from server.worker.recorded_files import Answerer, FileTooLarge, Layout, RecordedFiles
from server.worker.routing import Routed, hash_of
from tests.replay.made import FACTOR, MONDAY_US, NAME, NAMES, SECOND_US, normal, roost, subject

ROWS = 500


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(tmp_path_factory.mktemp("recordings"), normal(2_000, 1), bins=4)


def layout_of(known: Subject, *redact: str) -> Layout:
    baseline, signature = known.artifact.baseline, known.signature
    recording = recording_of(signature, baseline.inputs, baseline.predictions, redact)
    return Layout(recording, (*signature.inputs, *signature.outputs))


def files_in(folder: Path, name: str = "w0", **settings: object) -> RecordedFiles:
    found = RecordedFiles(RecordSettings(share=1.0, folder=folder, **settings), name)  # type: ignore[arg-type]
    found.begin()
    return found


def add(
    files: RecordedFiles, layout: Layout, x: np.ndarray, *, digest: str, at_us: int = MONDAY_US, keys: bool = True,
    factor: float = FACTOR,
) -> int:  # fmt: skip
    keyed = np.full(len(x), int(keys), dtype=np.int64)
    hashes = np.full(len(x), hash_of(b"somebody") if keys else 0, dtype=np.int64)
    arrays = (x, x * np.float32(factor))
    return files.add(NAME, layout, Answerer("1", digest, "stable"), at_us, keyed, hashes, arrays)


def recorded(folder: Path, layout: Layout, digest: str, rows: int = ROWS, **options: object) -> Path:
    """The folder of a recording of normal rows in batches of 50, a second apart."""
    files = files_in(folder)
    x = normal(rows, 3)
    for number, start in enumerate(range(0, rows, 50)):
        at_us = MONDAY_US + number * SECOND_US
        add(files, layout, x[start : start + 50], digest=digest, at_us=at_us, **options)  # type: ignore[arg-type]
    assert files.write_all() == rows
    return folder / NAME


def opened(known: Subject, folder: Path, **choices: object) -> Opened:
    return open_files(known, paths_of([folder]), Choices(**choices))  # type: ignore[arg-type]


# --- The file -------------------------------------------------------------------------------------------------------
def test_a_file_has_a_column_for_each_feature_and_says_who_answered_when(known: Subject, tmp_path: Path) -> None:
    folder = recorded(tmp_path, layout_of(known), known.digest)
    (path,) = folder.iterdir()
    table = pq.read_table(path)
    assert tuple(table.column_names) == (*OWN_COLUMNS, *NAMES, "y:0", "y:1", "y:2", "y:3")
    assert str(table.schema.field("time_utc").type) == "timestamp[us, tz=UTC]"
    assert str(table.schema.field("key_bucket").type) == "uint8"
    assert table.column("height").to_pylist() == normal(ROWS, 3)[:, 0].tolist()
    assert set(table.column("version").to_pylist()) == {"1"}
    assert set(table.column("digest").to_pylist()) == {known.digest}
    assert set(table.column("variant").to_pylist()) == {"stable"}
    bucket = int(bucket_of_call(Routed(0, 0, 0, 1, 1, hash_of(b"somebody")))[0])
    assert set(table.column("key_bucket").to_pylist()) == {bucket}
    recording = read_recording(table.schema.metadata, "file")
    assert recording == layout_of(known).recording


def test_a_row_without_a_key_has_no_bucket(known: Subject, tmp_path: Path) -> None:
    folder = recorded(tmp_path, layout_of(known), known.digest, keys=False)
    assert pq.read_table(folder).column("key_bucket").null_count == ROWS


def test_nobody_but_the_owner_may_read_what_was_recorded(known: Subject, tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        folder = recorded(tmp_path / "recorded", layout_of(known), known.digest)
    finally:
        os.umask(umask)
    assert [entry.stat().st_mode & 0o777 for entry in (folder.parent, folder)] == [0o700, 0o700]
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_a_file_is_written_when_it_is_full_or_old_and_not_before(known: Subject, tmp_path: Path) -> None:
    layout = layout_of(known)
    files = files_in(tmp_path, rows_per_file=120, seconds_per_file=1.0)
    assert add(files, layout, normal(119, 1), digest=known.digest) == 0
    assert files.write_due() == 0
    assert add(files, layout, normal(1, 1), digest=known.digest) == 120
    assert add(files, layout, normal(5, 1), digest=known.digest) == 0
    assert files.rows == 5
    due_s = files.due_s
    assert due_s is not None
    time.sleep(max(due_s - time.monotonic(), 0) + 0.01)
    assert files.write_due() == 5
    assert (files.rows, files.due_s) == (0, None)
    assert sorted(pq.read_table(path).num_rows for path in (tmp_path / NAME).iterdir()) == [5, 120]


def test_many_small_batches_are_one_file_in_their_order(known: Subject, tmp_path: Path) -> None:
    files, layout, x = files_in(tmp_path), layout_of(known), normal(700, 5)
    for row in range(700):
        add(files, layout, x[row : row + 1], digest=known.digest, at_us=MONDAY_US + row)
    assert files.write_all() == 700
    table = pq.read_table(tmp_path / NAME)
    assert table.column("weight").to_pylist() == x[:, 1].tolist()
    assert [at.microsecond for at in table.column("time_utc").to_pylist()] == list(range(700))


def test_versions_with_other_columns_are_in_files_of_their_own(known: Subject, tmp_path: Path) -> None:
    files = files_in(tmp_path)
    first, second = layout_of(known), layout_of(known, "weight")
    add(files, first, normal(5, 1), digest="a" * 64)
    for _ in range(3):  # side by side, as a stable and its canary answer
        assert add(files, second, normal(7, 1), digest="b" * 64) == 0
        assert add(files, first, normal(5, 1), digest="a" * 64) == 0
    assert files.write_all() == 4 * 5 + 3 * 7
    assert len(list((tmp_path / NAME).iterdir())) == 2
    names = {len(pq.read_table(path).column_names) for path in (tmp_path / NAME).iterdir()}
    assert names == {len(OWN_COLUMNS) + 8, len(OWN_COLUMNS) + 7}


@pytest.mark.parametrize("datatype", [one for one in Datatype if one is not Datatype.BYTES], ids=lambda one: one.name)
def test_every_type_is_written_as_the_replay_reads_it(datatype: Datatype, tmp_path: Path) -> None:
    from registry_client.baseline.parquet import ParquetRows
    from registry_client.baseline.rows import tensor_of

    spec = TensorSpec("x", datatype, (-1, 2))
    signature = Signature((spec,), ())
    layout = Layout(recording_of(signature, (), (), ()), (spec,))
    values = np.array([[0, 1], [1, 0], [1, 1]]).astype(datatype.numpy_dtype)
    if datatype is Datatype.BF16:
        values = np.array([[0x3F80, 0x4000], [0x7FC0, 0xC0A0], [0, 0x7F80]], dtype=np.uint16)
    files = files_in(tmp_path)
    zeros = np.zeros(3, dtype=np.int64)
    files.add("m", layout, Answerer("1", "d" * 64, "stable"), MONDAY_US, zeros, zeros, (values,))
    files.write_all()
    (path,) = (tmp_path / "m").iterdir()
    (cells,) = ParquetRows(path).batches(["x:0", "x:1"])
    read = tensor_of(spec, ("x:0", "x:1"), cells, path, 0)
    assert read.dtype == datatype.numpy_dtype
    np.testing.assert_array_equal(read, values)


def test_columns_go_by_their_features_names_and_never_by_the_same_twice() -> None:
    signature = Signature(
        (TensorSpec("x", Datatype.FP32, (-1, 3)), TensorSpec("age", Datatype.FP32, (-1, 1))),
        (TensorSpec("age", Datatype.FP32, (-1, 1)), TensorSpec("version", Datatype.FP32, (-1,))),
    )
    features = tuple(
        Feature(name, tensor, column, Kind.NUMBER, (0.0, 1.0), (1, 1, 1, 1, 1))
        for name, tensor, column in (("height", "x", 0), ("x[1]", "x", 1), ("digest", "x", 2), ("age", "age", 0))
    )
    found = recording_of(signature, features, (), ("x:1",))
    assert found.inputs == {"x": ("height", "x:1", "x:2"), "age": ("age",)}
    assert found.outputs == {"age": ("age'",), "version": ("version'",)}
    assert found.redacted == {"x:1"}
    assert recording_of(signature, features, (), ("x",)).redacted == {"height", "x:1", "x:2"}


# --- Old ones go ----------------------------------------------------------------------------------------------------
def test_files_that_are_too_old_go_and_younger_ones_stay(known: Subject, tmp_path: Path) -> None:
    folder = recorded(tmp_path, layout_of(known), known.digest)
    (old,) = folder.iterdir()
    aged_s = time.time() - 3 * 86_400
    os.utime(old, (aged_s, aged_s))
    files_in(tmp_path, keep_days=4.0).tidy()
    assert old.exists()
    files = files_in(tmp_path, "w1", keep_days=2.0)
    add(files, layout_of(known), normal(10, 1), digest=known.digest)
    assert files.write_all() == 10
    assert not old.exists()
    assert len(list(folder.iterdir())) == 1


def test_other_peoples_files_in_the_folder_stay_however_old_and_large_they_are(known: Subject, tmp_path: Path) -> None:
    folder = recorded(tmp_path, layout_of(known), known.digest)
    (own,) = folder.iterdir()
    training = tmp_path / "training"
    training.mkdir()
    others = [folder / "customers-2020.parquet", training / "20260101.parquet", training / ".half.parquet.partial"]
    for other in others:
        other.write_bytes(own.read_bytes() * 100)
    for file in (own, *others):
        os.utime(file, (0, 0))
    files_in(tmp_path, keep_days=1.0).tidy()
    assert not own.exists()
    assert all(other.exists() for other in others)


def test_all_files_together_stay_within_their_bytes_the_oldest_going_first(known: Subject, tmp_path: Path) -> None:
    layout, limit = layout_of(known), 1 << 20
    files = files_in(tmp_path, bytes_max=limit, keep_days=3650.0)
    kept = []
    for number in range(12):
        add(files, layout, normal(6_000, number), digest=known.digest)
        assert files.write_all() == 6_000
        newest = max((tmp_path / NAME).iterdir(), key=lambda path: path.name)
        kept.append(newest.name)
        moment_s = 1_790_000_000 + number
        os.utime(newest, (moment_s, moment_s))
        assert sum(path.stat().st_size for path in (tmp_path / NAME).iterdir()) <= limit
    left = sorted(path.name for path in (tmp_path / NAME).iterdir())
    assert 1 < len(left) < 12
    assert left == sorted(kept)[-len(left) :]


def test_one_file_that_is_larger_than_all_may_be_is_refused_and_leaves_nothing(known: Subject, tmp_path: Path) -> None:
    files = files_in(tmp_path, bytes_max=1 << 20)
    add(files, layout_of(known), normal(45_000, 1), digest=known.digest)
    with pytest.raises(FileTooLarge, match=r"record\.bytes_max: expected room for one file, \d+ bytes, got 1048576"):
        files.write_all()
    assert list((tmp_path / NAME).iterdir()) == []


def test_what_a_process_that_ended_left_behind_goes_after_an_hour(known: Subject, tmp_path: Path) -> None:
    folder = recorded(tmp_path, layout_of(known), known.digest)
    partial = folder / ".20260101T000000Z-w0-1-00000.parquet.partial"
    partial.touch()
    files_in(tmp_path).tidy()
    assert partial.exists()
    os.utime(partial, (time.time() - 7200, time.time() - 7200))
    files_in(tmp_path).tidy()
    assert not partial.exists()


# --- Replayed -------------------------------------------------------------------------------------------------------
def test_a_recording_is_replayed_by_its_own_columns_times_and_keys(known: Subject, tmp_path: Path) -> None:
    folder = recorded(tmp_path, layout_of(known), "e" * 64)
    (rows,) = opened(known, folder).in_order()
    np.testing.assert_array_equal(rows.arrays["x"], normal(ROWS, 3))
    np.testing.assert_array_equal(rows.arrays["y"], normal(ROWS, 3) * np.float32(FACTOR))
    assert rows.times_us is not None
    assert rows.times_us.tolist() == np.repeat(MONDAY_US + SECOND_US * np.arange(10), 50).tolist()
    assert len(set(rows.buckets.tolist())) == 1


def test_recorded_answers_are_those_of_this_artifact_only(known: Subject, tmp_path: Path) -> None:
    files, layout = files_in(tmp_path), layout_of(known)
    add(files, layout, normal(10, 1), digest=known.digest, factor=3.0)
    add(files, layout, normal(20, 2), digest="e" * 64)
    add(files, layout, normal(30, 3), digest=known.digest, factor=3.0)
    files.write_all()
    found = list(opened(known, tmp_path / NAME, recorded=True).in_order())
    x = np.concatenate([rows.arrays["x"] for rows in found])
    np.testing.assert_array_equal(x, np.concatenate([normal(10, 1), normal(30, 3)]))
    y = np.concatenate([rows.arrays["y"] for rows in found])
    np.testing.assert_array_equal(y, x * np.float32(3.0))


def test_two_workers_files_of_one_time_are_one_stream(known: Subject, tmp_path: Path) -> None:
    layout = layout_of(known)
    for worker in range(2):
        files = files_in(tmp_path, f"w{worker}")
        for number in range(10):
            x = np.full((5, 4), worker, np.float32)
            add(files, layout, x, digest=known.digest, at_us=MONDAY_US + (2 * number + worker) * SECOND_US)
        files.write_all()
    found = list(opened(known, tmp_path / NAME).in_order())
    times_us = np.concatenate([rows.times_us for rows in found if rows.times_us is not None])
    assert (np.diff(times_us) >= 0).all()
    workers = np.concatenate([rows.arrays["x"][:, 0] for rows in found])
    assert workers.tolist() == ([0.0] * 5 + [1.0] * 5) * 10


def test_columns_that_were_left_out_are_nowhere_in_the_file_and_not_judged(known: Subject, tmp_path: Path) -> None:
    folder = recorded(tmp_path, layout_of(known, "weight", "y"), known.digest)
    (path,) = folder.iterdir()
    assert not {"weight", "y:0", "y:3"} & set(pq.read_table(path).column_names)
    with pytest.raises(BadDocument, match=r"expected all inputs of the model, to run it, got weight redacted\. With"):
        opened(known, folder)
    found = opened(known, folder, recorded=True)
    assert [feature.name for feature in found.subject.artifact.features] == ["height", "age", "plan"]
    assert set(found.subject.left_out) >= {"weight", "y[0]", "y[argmax]"}
    assert found.notes == (f"left out, since a recording has them redacted: {', '.join(found.subject.left_out)}",)
    (rows,) = found.in_order()
    np.testing.assert_array_equal(rows.arrays["x"][:, 0], normal(ROWS, 3)[:, 0])
    assert (rows.arrays["x"][:, 1] == 0).all()


def test_a_recording_without_any_input_can_not_be_replayed(known: Subject, tmp_path: Path) -> None:
    folder = recorded(tmp_path, layout_of(known, "x"), known.digest)
    with pytest.raises(BadDocument, match="expected one input's column at least, got none"):
        opened(known, folder, recorded=True)


def test_another_models_recording_is_refused(known: Subject, tmp_path: Path) -> None:
    spec = TensorSpec("x", Datatype.FP32, (-1, 2))
    layout = Layout(recording_of(Signature((spec,), (spec,)), (), (), ()), (spec, spec))
    files = files_in(tmp_path)
    zeros, x = np.zeros(3, dtype=np.int64), np.zeros((3, 2), np.float32)
    files.add(NAME, layout, Answerer("1", known.digest, "stable"), MONDAY_US, zeros, zeros, (x, x))
    files.write_all()
    with pytest.raises(BadDocument, match=r"It was recorded from another model|expected 4 columns"):
        opened(known, tmp_path / NAME, recorded=True)


def test_the_command_takes_a_folder_of_recordings_as_it_is(known: Subject, tmp_path: Path) -> None:
    from registry_client.bundle import unpack_bundle

    unpack_bundle(tmp_path / "bundle", known.bundle)
    folder = recorded(tmp_path / "recorded", layout_of(known), known.digest)
    for option in ((), ("--recorded",)):
        found = roost(tmp_path / "bundle", folder, *option, "--set", "drift.season=off", "--json").document()
        assert found["rows"] == ROWS
        assert (found["start_utc"], found["end_utc"]) == ("2026-09-28T00:00:00Z", "2026-09-28T00:00:09Z")
    other = recorded(tmp_path / "others", layout_of(known), "e" * 64)
    assert roost(tmp_path / "bundle", other, "--recorded").refusal().startswith(
        "scaled: expected rows that it has answered, got none in these recordings."
    )
