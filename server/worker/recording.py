"""Recording: a random sample of the rows that were answered is copied and kept in files, for `roost replay`.

Used by the batch loop, once for each batch that has succeeded, after its answers have gone; a thread of its own, nicer
than all others, writes. Always: what is done on the loop is to draw and to copy; what waits for the thread has a bound,
beyond which rows are dropped and counted; whatever fails, recording ends and serving goes on.

Not recorded: shadows, calls that run by themselves, and batches that failed and were run again request by request.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from native.batch.memory import BatchMemory
from native.plane.counters import RECORDED_DROPPED, RECORDED_LOST, RECORDED_WRITTEN
from native.route.layout import ROLE_CANARY
from registry_client.baseline.recording import recording_of
from server.scheduling import USUAL_SLICE_NS, schedule_thread
from server.settings import RecordSettings
from server.worker.models.served import ServedModel
from server.worker.recorded_files import Answerer, Layout, RecordedFiles

log = logging.getLogger("roost.worker")

Array = npt.NDArray[Any]
Words = npt.NDArray[np.int64]

NICENESS: Final = 10
WAITING_BYTES_MAX: Final = 32 << 20
CLOSE_WAIT_S: Final = 15.0  # its thread gives way to all others
TIDY_S: Final = 600.0
TELL_S: Final = 60.0
NS_PER_US: Final = 1000
INSTALL: Final = "pip install 'roost-server[baseline]'"


@dataclass(frozen=True, eq=False, slots=True)
class Chunk:
    """Rows of one batch, copied. Fields as `RecordedFiles.add` takes them."""

    model: str
    layout: Layout
    answerer: Answerer
    at_us: int
    keyed: Words
    hashes: Words
    arrays: tuple[Array, ...]

    @property
    def size_bytes(self) -> int:
        return len(self.keyed) * self.layout.row_bytes


class Recorder:
    """Of one worker. Call `start`, then `offer` on the loop's thread, `close` at the end.

    counts: int64, the worker's private counters. name: tells its files from other workers'. seed: of the draw.
    """

    def __init__(self, settings: RecordSettings, memory: BatchMemory, counts: Words, name: str, seed: int) -> None:
        self._settings = settings
        self._memory = memory
        self._counts = counts
        self._random = np.random.default_rng(seed)
        self._layouts: dict[str, Layout] = {}
        self._files = RecordedFiles(settings, name)
        self._waiting: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="roost-recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Writes what there is, unless that takes too long."""
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(CLOSE_WAIT_S)
        if self._thread.is_alive():
            self._ended = True  # nobody waits for it any longer, and what it had still to write is lost
            lost = self._files.rows + sum(len(chunk.keyed) for chunk in self._left())
            self._counts[RECORDED_LOST] += lost
            log.error("rows that were chosen are not recorded: the disk is behind", extra={"fields": {"rows": lost}})

    # --- On the loop -------------------------------------------------------------------------------------------------
    def offer(self, model: ServedModel, seat: int, arena: int, rows: int) -> None:
        """A batch has run as this model and was answered; its arena is not free yet, nor are its slots another's.

        Raises nothing: callers of the next batch wait behind this.
        """
        if self._ended:
            return
        try:
            self._offer(model, seat, arena, rows)
        except Exception:
            self._ended = True
            log.exception("recording has stopped by an error of the server's own, and serving goes on")

    def _offer(self, model: ServedModel, seat: int, arena: int, rows: int) -> None:
        chosen = np.flatnonzero(self._random.random(rows) < self._settings.share)
        if not chosen.size:
            return
        layout = self._layouts.get(model.digest)
        if layout is None:
            layout = self._layouts[model.digest] = self._layout(model)
        size = chosen.size * layout.row_bytes
        with self._lock:
            if self._waiting_bytes + size > WAITING_BYTES_MAX:
                self._counts[RECORDED_DROPPED] += chosen.size
                return
            self._waiting_bytes += size
        columns = self._memory.arena_columns(arena)
        arrays = tuple(column[chosen] for tensors in columns for column in tensors)
        is_canary = int(self._memory.seats[seat]["role"]) == ROLE_CANARY
        answerer = Answerer(model.version, model.digest, "canary" if is_canary else "stable")
        at_us = time.time_ns() // NS_PER_US
        self._waiting.put(Chunk(model.name, layout, answerer, at_us, *self._keys(arena, chosen), arrays))

    def _keys(self, arena: int, chosen: npt.NDArray[np.int64]) -> tuple[Words, Words]:
        """Of each row: 1 where its request had a key, and that key's hash."""
        requests = np.array(self._memory.arena_requests(arena), dtype=np.int64)
        slots = self._memory.slots
        of_rows = requests[np.searchsorted(slots["row"][requests], chosen, side="right") - 1]
        return slots["keyed"][of_rows], slots["key_hash"][of_rows]

    def _layout(self, model: ServedModel) -> Layout:
        """Made once for each artifact, and said: a name of `record.redact` that fits nothing protects nothing."""
        baseline, signature = model.baseline, model.signature
        recording = recording_of(
            signature,
            () if baseline is None else baseline.inputs,
            () if baseline is None else baseline.predictions,
            self._settings.redact,
        )
        fields = {
            "model": model.name, "version": model.version, "share": self._settings.share,
            "columns": len(recording.columns), "redacted": ", ".join(sorted(recording.redacted)) or "none",
        }  # fmt: skip
        log.info("rows are recorded", extra={"fields": fields})
        return Layout(recording, (*signature.inputs, *signature.outputs))

    # --- In the thread -----------------------------------------------------------------------------------------------
    def _work(self) -> None:
        schedule_thread(USUAL_SLICE_NS)
        try:
            # Nicer only once its library is loaded: that holds the GIL, and while the system lets all others run first,
            # the loop would wait with it; on a busy machine for half a minute.
            self._files.begin()
            schedule_thread(USUAL_SLICE_NS, NICENESS)
            self._write_as_it_comes()
        except ImportError as error:
            self._stop(f"{error}. It writes Parquet files: {INSTALL}")
        except Exception as error:  # noqa: BLE001, whatever a disk or a library comes up with
            self._stop(f"{type(error).__name__}: {error}")
        if self._ended:
            self._go_on_tidying()

    def _go_on_tidying(self) -> None:
        """What is there must not outlive its days because no more can be written."""
        while True:
            try:
                if self._waiting.get(timeout=TIDY_S) is None:
                    return
            except queue.Empty:
                with contextlib.suppress(OSError):
                    self._files.tidy()

    def _write_as_it_comes(self) -> None:
        tidied_s, told_s, told = 0.0, time.monotonic(), int(self._counts[RECORDED_DROPPED])
        while True:
            now_s = time.monotonic()
            if now_s - tidied_s >= TIDY_S:
                self._files.tidy()
                tidied_s = now_s
            dropped = int(self._counts[RECORDED_DROPPED])
            if dropped > told and now_s - told_s >= TELL_S:
                fields = {"rows": dropped - told, "waiting_bytes_max": WAITING_BYTES_MAX}
                log.warning("rows were not recorded: the disk is behind", extra={"fields": fields})
                told_s, told = now_s, dropped
            due_s = self._files.due_s
            wait_s = min(TELL_S, TELL_S if due_s is None else max(due_s - now_s, 0.0))
            try:
                chunk = self._waiting.get(timeout=wait_s)
            except queue.Empty:
                self._note_written(self._files.write_due())
                continue
            if chunk is None:
                self._note_written(self._files.write_all())
                return
            self._take(chunk)
            self._note_written(self._files.write_due())

    def _take(self, chunk: Chunk) -> None:
        with self._lock:
            self._waiting_bytes -= chunk.size_bytes
        self._note_written(
            self._files.add(
                chunk.model, chunk.layout, chunk.answerer, chunk.at_us, chunk.keyed, chunk.hashes, chunk.arrays
            )
        )

    def _note_written(self, rows: int) -> None:
        if rows:
            self._counts[RECORDED_WRITTEN] += rows

    def _left(self) -> Iterator[Chunk]:
        """Takes what waits out of the queue."""
        with contextlib.suppress(queue.Empty):
            while True:
                chunk = self._waiting.get_nowait()
                if chunk is not None:
                    yield chunk

    def _stop(self, why: str) -> None:
        """Says it once. Rows in memory are lost; none are taken any more."""
        self._ended = True
        lost = self._files.rows + sum(len(chunk.keyed) for chunk in self._left())
        self._counts[RECORDED_LOST] += lost
        fields = {"folder": str(self._settings.folder), "rows_lost": lost}
        log.error("recording has stopped, and serving goes on: %s", why, extra={"fields": fields})


def begin_recording(
    settings: RecordSettings, memory: BatchMemory, counts: Words, worker: int, seed: int
) -> Recorder | None:
    """The worker's recorder, started; None where nothing is to be recorded."""
    if settings.share == 0.0:
        return None
    recorder = Recorder(settings, memory, counts, f"w{worker}-{os.getpid()}", seed)
    recorder.start()
    return recorder
