"""The drift book: what was counted of each artifact's rows, window by window, over restarts of the control process.

One loop's. A few times a minute it is given all readings (`is_due`, `observe`), says which windows these have closed,
is told what became of judging them (`keep_state`), and has all of it written at once (`save`), in a thread: so after a
crash no row is lost or counted twice, and no window is judged twice. Always: nothing here waits or touches a disk; how
much is in memory has a bound; windows of one artifact and kind follow each other, whatever the clocks do.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from server.control.drift.cutting import Cutter
from server.control.drift.kept import SIGNALS_MAX, STATE_BYTES_MAX, STREAMS_MAX, Kept, Stream, Unsaved, recent_max
from server.control.drift.readings import (
    SLICE_NS,
    KeptReading,
    Reading,
    Source,
    counted_between,
    own_copy,
    went_back,
)
from server.control.drift.store import Store
from server.control.drift.window_clock import WindowClock
from server.control.drift.windows import KINDS, Counts, Span, Window, WindowKind, merged, sealed, sum_of

log = logging.getLogger("roost.control")

AHEAD_NS_MAX: Final = WindowKind.HOUR.length_ns  # of windows' time before the clock's: then somebody is told


@dataclass(frozen=True, eq=False)
class Closed:
    """A window to judge."""

    stream: Stream
    window: Window


@dataclass(frozen=True, eq=False)
class FeatureHistory:
    """starts_utc_ns, ends_utc_ns: int64[n], rising. counts: int64[n, bins of the feature]."""

    starts_utc_ns: npt.NDArray[np.int64]
    ends_utc_ns: npt.NDArray[np.int64]
    counts: Counts


@dataclass
class _Artifact:
    """One stream. read_utc_ns: when it last had a reading. readings: the last of each source. staged: not saved yet.

    counted: int64[T], all rows since this process has it; it never falls.
    """

    bins: int
    cutter: Cutter
    read_utc_ns: int = 0
    readings: dict[Source, KeptReading] = field(default_factory=dict)
    recent: dict[WindowKind, deque[Window]] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)
    staged: list[Window] = field(default_factory=list)
    staged_states: dict[str, bytes] = field(default_factory=dict)
    counted: Counts = field(init=False)

    def __post_init__(self) -> None:
        self.counted = np.zeros(self.bins, dtype=np.int64)
        for kind in KINDS:
            self.recent.setdefault(kind, deque(maxlen=recent_max(kind, self.bins)))

    def keep(self, closed: Iterable[Window]) -> None:
        for window in closed:
            self.staged.append(window)
            recent = self.recent[window.kind]
            if recent:
                recent[-1] = recent[-1].without_blocks()
            recent.append(window)

    def unsaved(self) -> Unsaved:
        """All that is staged, which is not staged any more."""
        windows, states = tuple(self.staged), dict(self.staged_states)
        self.staged.clear()
        self.staged_states.clear()
        return Unsaved(windows, self.cutter.in_progress(WindowKind.MINUTE), tuple(self.readings.values()), states)


class DriftBook:
    """kept: what `store.load` has given. plane_started_utc_ns: nothing was counted before."""

    def __init__(self, store: Store, kept: Mapping[Stream, Kept], plane_started_utc_ns: int) -> None:
        self._store = store
        self._files_begun = store.files_begun
        self._artifacts = {stream: _resumed(one) for stream, one in kept.items()}
        covered = max((one.cutter.covered_utc_ns for one in self._artifacts.values()), default=0)
        self._clock = WindowClock(covered)
        self._round_utc_ns = plane_started_utc_ns
        self._closed_at_start = tuple(
            Closed(stream, window) for stream, artifact in self._artifacts.items() for window in artifact.staged
        )
        self._slice: int | None = None
        self.resets = 0
        """How often a counter was found to have begun anew."""

    # --- Feeding -----------------------------------------------------------------------------------------------------
    def is_due(self, at_utc_ns: int) -> bool:
        """True once in each sixteenth of a minute of UTC: time for `observe`."""
        return at_utc_ns // SLICE_NS != self._slice

    def observe(self, readings: Iterable[Reading], *, at_utc_ns: int, now_ns: int) -> tuple[Closed, ...]:
        """The windows that are closed by now, each artifact's in order and a minute before its hour.

        readings: of all seats that are counted, of this moment. Raises ValueError for counts of a wrong shape; then
        nothing was taken.
        """
        rounds = _by_stream(readings)
        at = self._clock.read(at_utc_ns, now_ns)
        self._slice = at_utc_ns // SLICE_NS
        closed, self._closed_at_start = list(self._closed_at_start), ()
        for stream, counts in rounds.items():
            closed += self._take(stream, counts, at)
        for stream, artifact in self._artifacts.items():
            closed += _kept(stream, artifact, artifact.cutter.expire(at))
        self._forget_given_away(source for counts in rounds.values() for source in counts)
        self._round_utc_ns = at
        return tuple(closed)

    def keep_state(self, model: str, digest: str, signal: str, state: bytes) -> None:
        """What a detector or a season knows, opaque here; written with the windows of the same `save`.

        Raises ValueError where it is too large, KeyError for an artifact that was never observed.
        """
        if len(state) > STATE_BYTES_MAX:
            raise ValueError(
                f"state of {signal}: expected at most {STATE_BYTES_MAX} bytes, got {len(state)}. Keep sums, not rows"
            )
        artifact = self._artifacts[Stream(model, digest)]
        if signal not in artifact.states and len(artifact.states) >= SIGNALS_MAX:
            raise ValueError(f"state of {signal}: expected at most {SIGNALS_MAX} signals of an artifact, got another")
        if artifact.states.get(signal) != state:
            artifact.states[signal] = artifact.staged_states[signal] = state

    def state(self, model: str, digest: str, signal: str) -> bytes | None:
        """As it was kept last, by this process or one before; None where it never was."""
        artifact = self._artifacts.get(Stream(model, digest))
        return None if artifact is None else artifact.states.get(signal)

    def save(self) -> None:
        """Hands over what has closed and what was kept since. Never waits; nothing to do is nothing done."""
        if self._store.files_begun != self._files_begun:
            self._files_begun = self._store.files_begun
            for artifact in self._artifacts.values():
                artifact.staged = [window for recent in artifact.recent.values() for window in recent]
                artifact.staged_states = dict(artifact.states)
        gone = self._make_room()
        unsaved = gone | {
            stream: artifact.unsaved()
            for stream, artifact in self._artifacts.items()
            if artifact.staged or artifact.staged_states
        }
        if unsaved:
            self._store.put(unsaved, self._clock.steady_utc_ns())

    def save_everything(self) -> None:
        """As `save`, with the minutes in progress: before the process ends. `store.close` then waits for it."""
        self.save()
        self._store.put(
            {stream: artifact.unsaved() for stream, artifact in self._artifacts.items()}, self._clock.steady_utc_ns()
        )

    @property
    def trouble(self) -> str | None:
        """What is wrong and what to do, for an alert; None where all is well."""
        texts = [] if self._store.trouble is None else [self._store.trouble]
        if self._clock.ahead_ns > AHEAD_NS_MAX:
            hours = self._clock.ahead_ns / WindowKind.HOUR.length_ns
            texts.append(
                f"clock: expected UTC to go on from the last window of drift, got a time {hours:.1f} h before it. "
                "Windows go on at half pace until it has caught up, and bear later times meanwhile. See that the clock "
                "is right (timedatectl); to begin anew, stop the server and move drift.db away."
            )
        return " ".join(texts) or None

    # --- Asking ------------------------------------------------------------------------------------------------------
    @property
    def streams(self) -> tuple[Stream, ...]:
        """All artifacts in memory."""
        return tuple(self._artifacts)

    def counted(self, model: str, digest: str) -> Counts | None:
        """int64[T], for a counter: all its rows by bin since this process began, and those of the last minute before
        that which were not saved. None where it was never read. Falls only where the artifact left memory in between.
        """
        artifact = self._artifacts.get(Stream(model, digest))
        return None if artifact is None else artifact.counted

    def latest(self, model: str, digest: str, kind: WindowKind) -> Window | None:
        """The last closed window, with its blocks."""
        recent = self._recent(Stream(model, digest), kind)
        return recent[-1] if recent else None

    def in_progress(self, model: str, digest: str, kind: WindowKind) -> Window | None:
        """As far as it is; None where nothing was read since the last one was closed."""
        artifact = self._artifacts.get(Stream(model, digest))
        return None if artifact is None else artifact.cutter.in_progress(kind)

    def windows(self, model: str, digest: str, kind: WindowKind, count: int) -> tuple[Window, ...]:
        """The newest closed windows in memory, in order: sums only, but for the last. Older ones: `Store.windows`."""
        recent = self._recent(Stream(model, digest), kind)
        return tuple(recent)[max(len(recent) - count, 0) :]

    def history(
        self, model: str, digest: str, kind: WindowKind, bins: slice, count: int, *, with_progress: bool = False
    ) -> FeatureHistory:
        """One feature over the newest windows in memory, for a row of a heat map. bins: its place among all."""
        windows = self.windows(model, digest, kind, count)
        last = self.in_progress(model, digest, kind) if with_progress else None
        return history_of(windows if last is None else (*windows, last), bins)

    def merged(self, model: str, digests: Sequence[str], kind: WindowKind, count: int) -> tuple[Window, ...]:
        """The newest units in which any of these artifacts has a closed window, each the sum over all of them.

        Raises ValueError where their bins differ in number; that they mean the same is the caller's to see
        (`ArtifactBaseline.has_bins_of`).
        """
        units: dict[int, list[Window]] = {}
        for digest in dict.fromkeys(digests):
            for window in self._recent(Stream(model, digest), kind):
                units.setdefault(window.unit_utc_ns, []).append(window)
        newest = sorted(units)[max(len(units) - count, 0) :]
        return tuple(merged(units[unit]) for unit in newest)

    # --- Inside ------------------------------------------------------------------------------------------------------
    def _recent(self, stream: Stream, kind: WindowKind) -> Sequence[Window]:
        artifact = self._artifacts.get(stream)
        return () if artifact is None else artifact.recent[kind]

    def _take(self, stream: Stream, counts: Mapping[Source, Counts], at: int) -> list[Closed]:
        bins = next(iter(counts.values())).shape[1]
        artifact = self._artifacts.get(stream)
        if artifact is None:
            artifact = self._artifacts[stream] = _Artifact(bins, Cutter())
        elif bins != artifact.bins:
            fields = {"digest": stream.digest, "bins": bins, "before": artifact.bins}
            log.warning("%s has other bins than it had: its windows begin anew", stream.model, extra={"fields": fields})
            artifact = self._artifacts[stream] = _Artifact(bins, Cutter(artifact.cutter.covered_utc_ns))
        starts, parts = [], []
        for source, now in counts.items():
            before = artifact.readings.get(source)
            if before is not None and went_back(before.counts, now):
                self.resets += 1
                log.warning("the counts of seat %d have begun anew", source.seat, extra={"fields": stream._asdict()})
            starts.append(self._round_utc_ns if before is None else before.at_utc_ns)
            parts.append(counted_between(None if before is None else before.counts, now))
            artifact.readings[source] = KeptReading(source, at, now)
        artifact.read_utc_ns = at
        start = max(min(min(starts), at - 1), artifact.cutter.covered_utc_ns)
        by_key = parts[0] if len(parts) == 1 else sealed(np.sum(parts, axis=0))
        span = Span(start, at, by_key, sum_of(by_key)[np.newaxis])
        artifact.counted = sealed(artifact.counted + span.counts)
        return _kept(stream, artifact, artifact.cutter.add(span))

    def _forget_given_away(self, sources: Iterable[Source]) -> None:
        """Seats that hold another artifact now: their earlier readings will be compared with nothing any more."""
        generations = {source.seat: source.generation for source in sources}
        for artifact in self._artifacts.values():
            for source in [one for one in artifact.readings if one.generation < generations.get(one.seat, 0)]:
                del artifact.readings[source]

    def _make_room(self) -> dict[Stream, Unsaved]:
        """Artifacts that were not read for longest leave memory, with what they had in progress; never those that are
        read."""
        idle = sorted(
            (artifact.read_utc_ns, stream)
            for stream, artifact in self._artifacts.items()
            if artifact.read_utc_ns < self._round_utc_ns
        )
        leaving = [stream for _, stream in idle[: max(len(self._artifacts) - STREAMS_MAX, 0)]]
        found = {}
        for stream in leaving:
            artifact = self._artifacts.pop(stream)
            artifact.keep(artifact.cutter.close())
            found[stream] = artifact.unsaved()
        return found


def _by_stream(readings: Iterable[Reading]) -> dict[Stream, dict[Source, Counts]]:
    found: dict[Stream, dict[Source, Counts]] = {}
    for reading in readings:
        counts = own_copy(reading)
        sources = found.setdefault(Stream(reading.model, reading.digest), {})
        for other in sources.values():
            if other.shape != counts.shape:
                raise ValueError(
                    f"counts of {reading.model} in seat {reading.source.seat}: expected {other.shape[1]} bins, as in "
                    f"another seat with the same digest, got {counts.shape[1]}. One digest has one baseline"
                )
        sources[reading.source] = counts
    return found


def history_of(windows: Sequence[Window], bins: slice) -> FeatureHistory:
    """Of any windows in order, those of `Store.windows` too."""
    starts = np.array([window.start_utc_ns for window in windows], dtype=np.int64)
    ends = np.array([window.end_utc_ns for window in windows], dtype=np.int64)
    width = bins.stop - bins.start
    counts = np.array([window.counts[bins] for window in windows], dtype=np.int64).reshape(len(windows), width)
    return FeatureHistory(starts, ends, counts)


def _kept(stream: Stream, artifact: _Artifact, closed: Sequence[Window]) -> list[Closed]:
    artifact.keep(closed)
    return [Closed(stream, window) for window in closed]


def _resumed(kept: Kept) -> _Artifact:
    artifact = _Artifact(kept.bins, Cutter(kept.covered_utc_ns))
    for kind, windows in kept.recent.items():
        artifact.recent[kind].extend(windows)
    artifact.readings = {reading.source: reading for reading in kept.readings}
    artifact.read_utc_ns = max((reading.at_utc_ns for reading in kept.readings), default=kept.covered_utc_ns)
    artifact.states = dict(kept.states)
    artifact.keep(artifact.cutter.resume(kept.parts, kept.minute))
    return artifact
