"""Watching: rows counted by bin are read as their slices end, windows that close are judged, and drift is told.

A task of the control process. Always: a look that fails is logged, and the next one is taken; what is judged is what
the model's stable was given and answered, and beside it what only its canary answers; a model without a baseline says
why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from native.plane.drift import DriftReader
from native.plane.layout import PLANE_STARTED_UTC_NS, Plane
from native.plane.seats import Seat
from registry_client.cache import BundleCache
from server.control.drift.baselines import ArtifactBaseline, Baselines, NoBaseline
from server.control.drift.book import Closed, DriftBook
from server.control.drift.canary_watch import CanaryWatch, PairSeen
from server.control.drift.judging import Seen, WindowJudge, limits_of
from server.control.drift.last_reports import BadReport, LastReport, report_from_bytes, report_key, report_to_bytes
from server.control.drift.policies import policy_of
from server.control.drift.readings import SLICE_NS, Reading, Source
from server.control.drift.responding import Finding, Responder
from server.control.drift.signals import Signal, signals_of
from server.control.drift.store import Store
from server.control.drift.windows import WindowKind
from server.control.driver import Driver
from server.judgement.drift.canary import PairLimits, Whose
from server.judgement.drift.policy import CANARY, Response
from server.judgement.drift.report import Verdict

log = logging.getLogger("roost.control")

CLOSE_WAIT_S: Final = 1.0
LOOKS_IN_A_SLICE: Final = 8
LOOK_S: Final = SLICE_NS / 1e9 / LOOKS_IN_A_SLICE
QUIET_WINDOWS: Final = 3  # in a row end an alarm, or one that is about right would be told again and again
FEATURES_TOLD: Final = 20  # in an event; GetDrift has all
NO_WINDOW: Final = "No window has ended yet."


@dataclass
class ModelDrift:
    """What is known of one model. reason: why nothing is, or "". reports: the last of each signal and length.

    baseline: of the stable, and its signals. standing: detectors that have alarmed, and how many quiet windows are
    missing until that is over. beside: what its canary shows beside it.
    """

    reason: str = NO_WINDOW
    digest: str = ""
    baseline: ArtifactBaseline | None = None
    signals: tuple[Signal, ...] = ()
    reports: dict[tuple[str, WindowKind], Seen] = field(default_factory=dict)
    standing: dict[tuple[str, WindowKind], int] = field(default_factory=dict)
    beside: PairSeen = field(default_factory=PairSeen)

    def note(self, seen: Seen) -> None:
        """The newest of its signal and length. A window that says nothing neither begins an alarm nor ends one."""
        key = seen.signal, seen.window.kind
        self.reports[key] = seen
        self.reason = ""
        if seen.report.verdict is Verdict.DRIFT:
            self.standing[key] = QUIET_WINDOWS  # anew: those must follow each other
        elif seen.report.verdict is Verdict.QUIET and key in self.standing:
            self.standing[key] -= 1
            if self.standing[key] == 0:
                del self.standing[key]

    def take_up(self, last: LastReport) -> None:
        """What another control process knew."""
        key = last.seen.signal, last.seen.window.kind
        self.reports[key], self.reason = last.seen, ""
        if last.quiet_missing:
            self.standing[key] = last.quiet_missing

    def drifting(self, signal: str) -> tuple[WindowKind, ...]:
        """Lengths by which this signal has drifted, until that is over."""
        return tuple(kind for kind in WindowKind if (signal, kind) in self.standing)

    def begin(self, digest: str) -> None:
        """Another stable: what was known is not about it."""
        self.digest, self.baseline, self.signals = digest, None, ()
        self.reports.clear()
        self.standing.clear()
        self.reason = NO_WINDOW


class DriftWatch:
    """Call `start`, keep `run` running, call `stop`."""

    def __init__(
        self,
        driver: Driver,
        plane: Plane,
        *,
        utc_ns: Callable[[], int] = time.time_ns,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._utc_ns, self._now_ns = utc_ns, now_ns
        settings = driver.settings
        self._driver = driver
        self._settings = settings.drift
        self._responder = Responder(driver, policy_of(settings.drift), now_ns)
        self._policy = self._responder.policy
        self._reader = DriftReader(plane)
        self._baselines = Baselines(BundleCache(settings.registry.cache))
        self._started_utc_ns = int(plane.words[PLANE_STARTED_UTC_NS])
        self._store = Store(driver.folder.path, str(self._started_utc_ns))
        limits = PairLimits(settings.judgement.alpha, tau=settings.drift.tau, rows_min=settings.drift.rows_min)
        self._canaries = CanaryWatch(driver, self._reader, limits)
        self._unread: dict[str, NoBaseline] = {}
        self._tried_slice = -1
        self._names = {served.index: name for name, served in driver.models.items() if served.in_registry}
        self.models = {name: ModelDrift() for name in self._names.values()}
        for name, served in driver.models.items():
            if not served.in_registry:
                self.models[name] = ModelDrift("It is served from a file, which has no baseline: see roost bundle.")
        if not settings.drift.count:
            for known in self.models.values():
                known.reason = "Rows are not counted: drift.count is off."
        self.looks = 0
        self.look_s = 0.0

    async def start(self) -> None:
        """Finds what the last control process has left."""
        kept = await asyncio.to_thread(self._store.load)
        self.book = DriftBook(self._store, kept, self._started_utc_ns)
        self._judge = WindowJudge(self.book, self._settings)

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            # A look that fails is taken again with the next slice, not at once.
            slice_ = self._utc_ns() // SLICE_NS
            if not self._settings.count or slice_ == self._tried_slice:
                continue
            self._tried_slice = slice_
            try:
                await self.look()
            except Exception as error:
                log.exception("a look at drift failed")
                self._driver.alert("drift", f"it can't be looked at: {error!r}. The log has more")

    async def stop(self) -> None:
        """Reads once more, since workers may have counted since, and writes what waits."""
        if self._settings.count:
            try:
                await self.look()
            except Exception:
                log.exception("the last look at drift failed")
        self._canaries.keep_all(self.book)
        self.book.save_everything()
        await asyncio.to_thread(self._store.close, CLOSE_WAIT_S)

    async def look(self) -> None:
        """One look at all seats; windows that have closed are judged."""
        self._unread = {}
        for digest in {seat.digest for seat in self._counted_seats()} - self._baselines.known.keys():
            found = await asyncio.to_thread(self._baselines.read, digest)
            if isinstance(found, NoBaseline):
                self._unread[digest] = found  # and tried again at the next look
        for name, known in self.models.items():
            self._note_stable(name, known)
        began_s = time.perf_counter()
        closed = self.book.observe(list(self._readings()), at_utc_ns=self._utc_ns(), now_ns=self._now_ns())
        told = [seen for one in closed for seen in self._judged(one)]
        for name, known in self.models.items():
            known.beside = await self._look_beside(name, known)
        self.look_s += time.perf_counter() - began_s
        self.looks += 1
        for name, seen in told:
            await self._respond(name, seen)
        for name, known in self.models.items():
            await self._respond_beside(name, known.beside)
        self.book.save()
        self._driver.alert("drift", self.book.trouble)

    def beside(self, name: str) -> PairSeen:
        """What is known of the canary that there is now."""
        seen, canary = self.models[name].beside, self._driver.state(name).canary
        if seen.canary is not None and (canary is None or canary.artifact.digest != seen.canary.digest):
            return PairSeen()
        return seen

    def in_words(self, name: str) -> tuple[str, ...]:
        """What is known of a model's drift, and of its canary's, a line each."""
        known = self.models[name]
        beside = self.beside(name).report
        lines = [] if beside is None else [f"The canary's predictions beside the stable's: {beside.why}"]
        if not known.reports:
            return f"Drift: {known.reason}", *lines
        worst = min(known.reports.values(), key=lambda seen: _ORDER[seen.report.verdict])
        return f"Drift of {worst.signal} in the last {worst.window.kind.word}: {worst.report.why}", *lines

    # --- Reading -----------------------------------------------------------------------------------------------------
    def _counted_seats(self) -> Iterator[Seat]:
        for seat in self._driver.seating.seats():
            if seat.model in self._names:
                yield seat

    def _readings(self) -> Iterator[Reading]:
        for seat in self._counted_seats():
            baseline = self._baselines.known.get(seat.digest)
            if isinstance(baseline, ArtifactBaseline):
                counts = self._reader.read(seat.index, seat.generation, baseline.bins)
                if counts is not None:
                    source = Source(seat.index, seat.generation)
                    yield Reading(self._names[seat.model], seat.digest, source, counts)

    def _note_stable(self, name: str, known: ModelDrift) -> None:
        """Whose windows are judged from now on, and why none are."""
        stable = self._driver.state(name).stable
        if name not in self._names.values() or stable is None:
            return
        if stable.digest != known.digest:
            known.begin(stable.digest)
            self._tell_over(name)
        baseline = self._baselines.known.get(stable.digest, self._unread.get(stable.digest))
        if isinstance(baseline, NoBaseline):
            known.reason = baseline.reason
        elif baseline is not None and known.baseline is None:
            known.baseline, known.reason = baseline, NO_WINDOW
            try:
                known.signals = signals_of(baseline)
            except ValueError as error:
                known.reason = str(error)
            self._take_up(name, known)

    def _take_up(self, name: str, known: ModelDrift) -> None:
        """What the last control process has left of this stable: what its windows said, and which alarms stand."""
        for signal in known.signals:
            for kind in WindowKind:
                data = self.book.state(name, known.digest, report_key(signal.name, kind.word))
                window = self.book.latest(name, known.digest, kind)
                if data is None or window is None or self._policy.response(signal.name) is Response.OFF:
                    continue
                try:
                    limits = limits_of(self._settings, kind)
                    known.take_up(report_from_bytes(data, signal, known.digest, window, limits))
                except BadReport as error:
                    log.info(
                        "%s: what its last %s said of %s is not taken up again (%s): nothing is shown of it until the "
                        "next one has ended", name, kind.word, signal.name, error,
                    )
            if known.drifting(signal.name):
                self._responder.take_up(name, signal.name)
                self._tell_standing(name, signal.name)

    # --- Judging -----------------------------------------------------------------------------------------------------
    def _judged(self, closed: Closed) -> Iterator[tuple[str, Seen]]:
        name, digest = closed.stream
        known = self.models.get(name)
        if known is None or digest != known.digest or known.baseline is None or not closed.window.has_blocks:
            return
        for signal in known.signals:
            if self._policy.response(signal.name) is not Response.OFF:
                seen = self._judge.judge(closed, signal)
                known.note(seen)
                last = LastReport(seen, known.standing.get((signal.name, closed.window.kind), 0))
                key = report_key(signal.name, closed.window.kind.word)
                self.book.keep_state(name, digest, key, report_to_bytes(last))
                yield name, seen

    async def _look_beside(self, name: str, known: ModelDrift) -> PairSeen:
        if name not in self._names.values() or self._policy.response(CANARY) is Response.OFF:
            return PairSeen(reason="It is switched off: drift.canary.")
        canary = self._driver.state(name).canary
        found = None if canary is None else self._baselines.known.get(canary.artifact.digest)
        has_baseline = isinstance(found, ArtifactBaseline)
        return await self._canaries.look(
            name, known.baseline, known.signals, has_baseline, self.book, self._now_ns()
        )

    # --- Telling -----------------------------------------------------------------------------------------------------
    async def _respond(self, name: str, seen: Seen) -> None:
        """What the policy asks for."""
        if seen.report.verdict is Verdict.DRIFT:
            text = f"{seen.signal} have drifted in the last {seen.window.kind.word}. {seen.report.why}"
            why = f"{seen.signal} have drifted. {seen.report.why}"
            await self._responder.respond(Finding(name, seen.signal, text, why, _detail(seen), seen.digest))
        self._tell_standing(name, seen.signal)

    def _tell_standing(self, name: str, signal: str) -> None:
        lengths = " and the ".join(kind.word for kind in self.models[name].drifting(signal))
        alert = f"they have drifted, by the {lengths}. `roost drift {name}` shows which and how far"
        self._responder.alert(name, signal, alert if lengths else None)

    async def _respond_beside(self, name: str, seen: PairSeen) -> None:
        """The same for what only the canary shows."""
        report = seen.report
        differs = report is not None and report.whose is Whose.MODEL
        if differs:
            assert report is not None and seen.canary is not None
            why = f"The predictions of version {seen.canary.version} differ from its stable's. {report.why}"
            detail = {"signal": CANARY, "digest": seen.canary.digest, **_shortened(report.to_dict())}
            if seen.taken_up:
                self._responder.take_up(name, CANARY, seen.canary.digest)
            stable = self.models[name].digest
            await self._responder.respond(Finding(name, CANARY, why, why, detail, stable, seen.canary.digest))
        alert = f"its predictions differ from the stable's beside it. `roost drift {name}` shows which and how far"
        self._responder.alert(name, CANARY, alert if differs else None)

    def _tell_over(self, name: str) -> None:
        for signal in self._policy.responses:
            self._responder.alert(name, signal, None)


_ORDER: Final = {Verdict.DRIFT: 0, Verdict.QUIET: 1, Verdict.NOT_ENOUGH: 2}


def _detail(seen: Seen) -> dict[str, object]:
    """Of an event, which is kept and posted: of a wide model those features that are of concern."""
    return {"signal": seen.signal, "window": seen.window.kind.word, **_shortened(seen.report.to_dict())}


def _shortened(report: dict[str, Any]) -> dict[str, object]:
    features = report["features"]
    shown = features[:FEATURES_TOLD]
    return {"report": {**report, "features": shown}, "features_left_out": len(features) - len(shown)}
