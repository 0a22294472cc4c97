"""A real worker records what it answers, where it is told to, and serves on whatever becomes of that."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.rollouts.canaries import failing
from benchmarks.swaps.versions import NAME, Versions, scaled
from native.plane.counters import COUNTERS_LENGTH, RECORDED_DROPPED, RECORDED_LOST, RECORDED_WRITTEN
from native.plane.routing import PPM
from registry_client.tensors import Datatype, Signature, TensorSpec
from registry_client.verify import read_verified
from server.replay.files import Choices, open_files
from server.replay.subject import subject_of
from server.settings import BatchingSettings, RecordSettings
from server.worker import recording
from server.worker.counting import bucket_of_call
from server.worker.recording import Recorder, begin_recording
from server.worker.routing import Routed, hash_of
from tests.behaviour.worker_process import LISTENERS
from tests.worker.bad_versions import THRESHOLD, alone
from tests.worker.operated import FIRST, OperatedWorker, asked, predict
from tests.worker.test_counting_rows import BASELINE, values

NAMES = tuple(f"x{column}" for column in range(4))


class Recording:
    """A worker that records into a folder; `stop` ends it, so that all is on disk."""

    def __init__(self, listener: str, folder: Path, **record: object) -> None:
        self.folder = folder / "recorded"
        self.versions = Versions(folder)
        self.versions.push(scaled(1), 1, ("stable",), BASELINE)
        settings = RecordSettings(**{"share": 1.0, "folder": self.folder, **record})  # type: ignore[arg-type]
        batching = BatchingSettings(max_batch_size=64)
        self.worker = OperatedWorker(listener, self.versions, folder, record=settings, batching=batching)

    def __enter__(self) -> Recording:
        self.worker.__enter__()
        self.channel = self.worker.channel()
        return self

    def __exit__(self, *exception: object) -> None:
        self.channel.close()
        self.worker.__exit__(*exception)

    def ask(self, x: np.ndarray, **fields: str) -> None:
        predict(self.channel)(asked(x, **fields), timeout=30)

    def counted(self, counter: int) -> int:
        return int(self.worker.plane.block(0).counters[counter])

    @property
    def log(self) -> str:
        return self.worker.log.read_text()

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.parquet"))

    def table(self) -> dict[str, list[object]]:
        found: dict[str, list[object]] = pq.read_table(self.folder / NAME).to_pydict()
        return found


def bucket(key: str) -> int:
    return int(bucket_of_call(Routed(0, 0, 0, 1, 1, hash_of(key.encode())))[0])


@pytest.mark.parametrize("listener", LISTENERS)
def test_each_row_that_was_answered_is_recorded_once_with_its_key_and_answer(listener: str, tmp_path: Path) -> None:
    with Recording(listener, tmp_path) as recorded:
        x = values(40, 1)
        for row in range(20):
            recorded.ask(x[row : row + 1], routing_key=f"key {row % 3}")
        recorded.ask(x[20:])
        canary = recorded.worker.load(recorded.versions.push(scaled(3), 3, baseline=BASELINE))
        recorded.worker.route(FIRST, canary=canary, canary_ppm=PPM)
        recorded.ask(x[:7], routing_key="key 1")
    table = recorded.table()
    by_first = {tuple(row): place for place, row in enumerate(x[:, 1:].tolist())}
    places = [by_first[row] for row in zip(*(table[name] for name in NAMES[1:]), strict=True)]
    assert sorted(places) == sorted([*range(40), *range(7)])
    for place, key, version, variant, y in zip(
        places, table["key_bucket"], table["version"], table["variant"], table["y:1"], strict=True
    ):
        is_canary = version == "2"
        assert variant == ("canary" if is_canary else "stable")
        assert y == np.float32(3 if is_canary else 1) * x[place, 1]
        wanted = bucket("key 1") if is_canary else bucket(f"key {place % 3}") if place < 20 else None
        assert key == wanted
    assert set(table["digest"]) == set(recorded.versions.digests[1:])
    assert recorded.counted(RECORDED_WRITTEN) == 47
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in recorded.files())
    assert not list(recorded.folder.rglob("*.partial"))
    check_replay(tmp_path / "bundle-1", recorded.files(), x)


def check_replay(bundle: Path, files: list[Path], x: np.ndarray) -> None:
    """The first version's rows come back as they were, with the answers that they got or that its model gives."""
    subject = subject_of(NAME, read_verified(bundle))
    for choices in (Choices(), Choices(recorded=True)):
        found = list(open_files(subject, files, choices).in_order())
        given = np.concatenate([rows.arrays["x"] for rows in found])[: len(x)]
        np.testing.assert_array_equal(given[np.lexsort(given.T)], x[np.lexsort(x.T)])
        np.testing.assert_array_equal(np.concatenate([rows.arrays["y"] for rows in found])[: len(x)], given)


def test_a_file_is_written_while_the_worker_serves_once_it_is_full_or_old_without_what_is_redacted(
    tmp_path: Path,
) -> None:
    redact = ("x2", "y", "nowhere")
    with Recording("fast", tmp_path, rows_per_file=100, seconds_per_file=1.0, redact=redact) as recorded:
        recorded.ask(values(64, 1))
        recorded.ask(values(64, 2))
        recorded.worker.until(lambda: len(recorded.files()) == 1, "a full file")
        recorded.ask(values(5, 3))
        recorded.worker.until(lambda: len(recorded.files()) == 2, "an old file")
        assert sorted(pq.read_table(path).num_rows for path in recorded.files()) == [5, 128]
    assert not {"x2", "y0", "y:1", "nowhere"} & recorded.table().keys()
    assert re.search(r'rows are recorded.*redacted="x2, y0, y:1, y:2, y:3"', recorded.log)


def test_nothing_is_recorded_unless_the_settings_say_so(tmp_path: Path) -> None:
    assert RecordSettings().share == 0.0
    nobody, counts = SimpleNamespace(), np.zeros(COUNTERS_LENGTH, np.int64)
    assert begin_recording(RecordSettings(folder=tmp_path), nobody, counts, 0, 1) is None  # type: ignore[arg-type]
    with Recording("fast", tmp_path, share=0.0) as recorded:
        recorded.ask(values(5, 1))
        assert recorded.worker.process is not None
        maps = Path(f"/proc/{recorded.worker.process.pid}/maps").read_text()
        assert "libarrow" not in maps
        assert "/scipy/" not in maps, "Numba was let look for it"
        names = [path.read_text() for path in Path(f"/proc/{recorded.worker.process.pid}/task").glob("*/comm")]
        assert not [name for name in names if "recorder" in name]
    assert not recorded.folder.exists()
    assert recorded.counted(RECORDED_WRITTEN) == 0


def test_calls_that_fail_or_run_by_themselves_are_not_recorded_and_hurt_nobody(tmp_path: Path) -> None:
    with Recording("fast", tmp_path) as recorded:
        bad = np.full((1, 4), THRESHOLD, np.float32)
        fails = recorded.worker.load(recorded.versions.push(failing(2), 2, baseline=BASELINE))
        recorded.worker.route(fails)
        with pytest.raises(grpc.RpcError):
            recorded.ask(bad)
        by_itself = recorded.worker.load(recorded.versions.push(alone(2), 2, baseline=BASELINE))
        recorded.worker.route(by_itself)
        recorded.ask(bad)
        recorded.worker.route(FIRST)
        recorded.ask(values(3, 1))
    assert len(recorded.table()["x0"]) == 3


def test_a_folder_that_can_not_be_written_ends_recording_with_a_line_and_never_serving(tmp_path: Path) -> None:
    with Recording("fast", tmp_path, rows_per_file=10) as recorded:
        recorded.folder.mkdir()
        (recorded.folder / NAME).touch()  # where a folder has to be
        for seed in range(20):
            recorded.ask(values(20, seed))
        recorded.worker.until(lambda: "recording has stopped" in recorded.log, "it is said")
        lost = recorded.counted(RECORDED_LOST)
        recorded.worker.until(lambda: recorded.counted(RECORDED_LOST) >= 20, "it is counted")
        for seed in range(5):
            recorded.ask(values(20, seed))
        assert lost <= recorded.counted(RECORDED_LOST) <= 500
    assert recorded.log.count("recording has stopped") == 1
    assert re.search(r"FileExistsError.*serving goes on|serving goes on: FileExistsError", recorded.log)


# --- Bounds, without a worker ---------------------------------------------------------------------------------------
class Arena:
    """One batch of rows in memory, as the recorder looks at it: a request a row."""

    def __init__(self, rows: int, width: int, datatype: Datatype) -> None:
        places = np.repeat(np.arange(rows).astype(datatype.numpy_dtype)[:, np.newaxis], width, axis=1)
        self.columns = ((places,), (places,))
        self.slots = np.zeros(rows, dtype=[("row", np.int64), ("keyed", np.int64), ("key_hash", np.int64)])
        self.slots["row"] = np.arange(rows)
        self.seats = np.zeros(1, dtype=[("role", np.int64)])

    def arena_columns(self, _arena: int) -> object:
        return self.columns

    def arena_requests(self, _arena: int) -> list[int]:
        return list(range(len(self.slots)))


def recorder_in(
    folder: Path, width: int = 4, datatype: Datatype = Datatype.FP32, **settings: float
) -> tuple[Recorder, np.ndarray, SimpleNamespace]:
    """A recorder whose thread has not begun, its counters, and a model."""
    spec = [TensorSpec(name, datatype, (-1, width)) for name in ("x", "y")]
    model = SimpleNamespace(
        name="m", version="1", digest="d" * 64, baseline=None, signature=Signature((spec[0],), (spec[1],))
    )
    counts = np.zeros(COUNTERS_LENGTH, dtype=np.int64)
    chosen = RecordSettings(**{"share": 1.0, "folder": folder, **settings})  # type: ignore[arg-type]
    return Recorder(chosen, Arena(1024, width, datatype), counts, "w0", 1), counts, model  # type: ignore[arg-type]


def test_what_waits_has_a_bound_beyond_which_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    recorder, counts, model = recorder_in(tmp_path, 512)
    batches = 20
    batch_bytes = 1024 * 512 * 4 * 2
    kept = recording.WAITING_BYTES_MAX // batch_bytes
    assert 0 < kept < batches
    for _ in range(batches):
        recorder.offer(model, 0, 0, 1024)  # type: ignore[arg-type]
    assert counts[RECORDED_DROPPED] == (batches - kept) * 1024
    recorder.start()
    recorder.close()
    assert counts[RECORDED_WRITTEN] == kept * 1024
    assert sum(pq.read_table(path).num_rows for path in tmp_path.rglob("*.parquet")) == kept * 1024


@pytest.mark.parametrize("datatype", [one for one in Datatype if one not in (Datatype.BYTES, Datatype.BF16)])
def test_numbers_of_every_type_come_back(datatype: Datatype, tmp_path: Path) -> None:
    recorder, _, model = recorder_in(tmp_path, datatype=datatype)
    recorder.offer(model, 0, 0, 20)  # type: ignore[arg-type]
    recorder.start()
    recorder.close()
    found = pq.read_table(tmp_path / "m")
    given = np.arange(20).astype(datatype.numpy_dtype)
    for name in ("x:0", "y:3"):
        assert found.column(name).to_pylist() == given.tolist()
    assert found.column("x:0").type == pa.from_numpy_dtype(given.dtype)


def test_all_is_imported_before_the_thread_is_nicer_or_it_would_hold_up_the_loop(tmp_path: Path) -> None:
    script = f"""
        import os, sys, threading
        from pathlib import Path
        from tests.worker.test_recording import recorder_in
        from server.worker.recording import NICENESS
        recorder, _, model = recorder_in(Path({str(tmp_path)!r}))
        assert "pandas" not in sys.modules, "imported by the test itself"
        nice, modules = [], []
        def noted(step):
            def call(*arguments):
                nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
                done = step(*arguments)
                modules.append(set(sys.modules))
                return done
            return call
        files = recorder._files
        files.begin, files._write = noted(files.begin), noted(files._write)
        recorder.offer(model, 0, 0, 4)
        recorder.start()
        recorder.close()
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert nice == [own, min(own + NICENESS, 19)], nice
        assert modules[0] == modules[1], modules[1] - modules[0]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[2], check=True)
    assert pq.read_table(tmp_path / "m").num_rows == 4


def test_a_share_of_the_rows_is_chosen_at_random_whatever_their_batches(tmp_path: Path) -> None:
    for rows, batches in ((1, 3200), (64, 50), (1024, 3)):
        folder = tmp_path / str(rows)
        recorder, counts, model = recorder_in(folder, share=0.25)
        for _ in range(batches):
            recorder.offer(model, 0, 0, rows)  # type: ignore[arg-type]
        recorder.start()
        recorder.close()
        chosen = int(counts[RECORDED_WRITTEN])
        sigma = (rows * batches * 0.25 * 0.75) ** 0.5
        assert abs(chosen - rows * batches * 0.25) < 6 * sigma
        places = pq.read_table(folder).column("x:0").to_pylist()
        assert len(places) == chosen
        times = [places.count(place) for place in set(places)]
        assert rows == 1 or 0 < min(times) < batches, "not the same ones each time"


def test_a_mistake_of_the_recorders_own_stops_it_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, _, model = recorder_in(tmp_path)
    recorder.offer(SimpleNamespace(digest=model.digest), 0, 0, 4)  # type: ignore[arg-type]
    recorder.offer(model, 0, 0, 4)  # type: ignore[arg-type]
    assert caplog.text.count("recording has stopped by an error of the server's own") == 1


def test_rows_do_not_outlive_their_days_because_no_more_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "TIDY_S", 0.02)
    recorder, _, model = recorder_in(tmp_path, keep_days=1.0)
    old = tmp_path / "m" / "20260101T000000Z-w0-1-00000.parquet"
    recorder.offer(model, 0, 0, 4)  # type: ignore[arg-type]
    monkeypatch.setattr(recorder._files, "add", raising_disk_full)
    recorder.start()
    while not recorder._ended:
        time.sleep(0.005)
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(b"rows")
    os.utime(old, (0, 0))
    deadline_s = time.monotonic() + 10
    while old.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    recorder.close()
    assert not recorder._thread.is_alive()


def raising_disk_full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
