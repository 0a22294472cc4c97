"""Watching a canary's answers: whether they differ from those of the stable beside it, on the same traffic.

Used by `watching` at each look. A shift that both show is the population's, and says nothing here; one that only the
canary shows is its model's. Always: both arms are counted into the bins of the stable's baseline; what was seen of a
canary is kept with its windows, so that neither a restart nor another try begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from native.plane.drift import DriftReader
from server.control.drift.baselines import ArtifactBaseline
from server.control.drift.book import DriftBook
from server.control.drift.kept import Stream
from server.control.drift.pairs import BadPairs, PairReading, Pairs, PairSource, pairs_from_bytes
from server.control.drift.signals import Signal
from server.control.driver import Driver
from server.judgement.drift.canary import PairLimits, PairReport, compare
from server.judgement.drift.policy import PREDICTIONS
from server.lifecycle.state import Artifact

log = logging.getLogger("roost.control")

KEPT_EVERY_NS: Final = 60 * 1_000_000_000
NO_CANARY: Final = "No canary is on trial."
CHOSEN: Final = "Callers may choose their version (lifecycle.pin_allowed): no fair share of all traffic."


@dataclass(frozen=True)
class PairSeen:
    """What is known of a canary. reason: why there is no report, or "". taken_up: as another process left it."""

    canary: Artifact | None = None
    report: PairReport | None = None
    reason: str = NO_CANARY
    taken_up: bool = False


@dataclass
class _OnTrial:
    key: tuple[str, str]  # the stable's digest, and the canary's
    pairs: Pairs
    kept_ns: int


class CanaryWatch:
    """Of one server. limits: of every rollout."""

    def __init__(self, driver: Driver, reader: DriftReader, limits: PairLimits) -> None:
        self._driver = driver
        self._reader = reader
        self._limits = limits
        self._on_trial: dict[str, _OnTrial] = {}

    async def look(
        self,
        name: str,
        stable: ArtifactBaseline | None,
        signals: tuple[Signal, ...],
        canary_has_baseline: bool,
        book: DriftBook,
        now_ns: int,
    ) -> PairSeen:
        """What a model's canary has shown so far. stable, signals: of its stable, None and empty where it has none."""
        model = self._driver.state(name)
        if model.canary is None or not model.canary.started:
            self._on_trial.pop(name, None)
            return PairSeen()
        canary = model.canary.artifact
        if self._driver.settings.lifecycle.pin_allowed:
            return PairSeen(canary, reason=CHOSEN)
        signal = next((one for one in signals if one.name == PREDICTIONS), None)
        if stable is None or signal is None:
            return PairSeen(canary, reason="The stable has no baseline of predictions to compare the canary's with.")
        if not canary_has_baseline:
            return PairSeen(canary, reason="The canary's bundle has no baseline, so that its rows are not counted.")
        bins = signal.bins.stop - signal.bins.start
        pairs, taken_up = self._pairs(name, (stable.digest, canary.digest), bins, book, now_ns)
        reading = self._reading(name, stable, signal, bins)
        if reading is not None:
            pairs.add(reading)
        self._keep(name, book, now_ns)
        # Of many predictions and weights that takes long: it is the thread's, and nobody changes an epoch any more.
        report = await asyncio.to_thread(compare, signal.reference, pairs.epochs, self._limits)
        return PairSeen(canary, report, "", taken_up)

    def keep_all(self, book: DriftBook) -> None:
        """Before the process ends."""
        for name, known in self._on_trial.items():
            self._write(name, known, book)

    def _reading(self, name: str, stable: ArtifactBaseline, signal: Signal, bins: int) -> PairReading | None:
        route = self._driver.route(name)
        if route.stable is None or route.canary is None:
            return None
        own = self._reader.read(route.stable.seat, route.stable.generation, stable.bins)
        beside = self._reader.read_beside(self._driver.models[name].index, route.canary, route.stable, bins)
        if own is None or beside is None:
            return None
        source = PairSource(route.canary, route.stable, route.weight_epoch)
        return PairReading(source, route.canary_ppm, beside, own[:, signal.bins].copy())

    def _pairs(self, name: str, key: tuple[str, str], bins: int, book: DriftBook, now_ns: int) -> tuple[Pairs, bool]:
        """And whether they were read from what was kept, just now."""
        known = self._on_trial.get(name)
        if known is not None and known.key == key:
            return known.pairs, False
        data = book.state(name, key[1], _state_key(key[0]))
        pairs = Pairs(bins)
        if data is not None:
            try:
                pairs = pairs_from_bytes(data, bins)
            except BadPairs as error:
                fields = {"model": name, "digest": key[1], "reason": str(error)}
                log.warning("what a canary has shown can't be read, and begins anew", extra={"fields": fields})
        self._on_trial[name] = _OnTrial(key, pairs, now_ns)
        return pairs, data is not None

    def _keep(self, name: str, book: DriftBook, now_ns: int) -> None:
        known = self._on_trial[name]
        if now_ns - known.kept_ns >= KEPT_EVERY_NS:
            known.kept_ns = now_ns
            self._write(name, known, book)

    def _write(self, name: str, known: _OnTrial, book: DriftBook) -> None:
        stable, canary = known.key
        if Stream(name, canary) not in book.streams:
            return  # nothing was counted of it yet
        try:
            book.keep_state(name, canary, _state_key(stable), known.pairs.to_bytes())
        except ValueError as error:
            log.warning("what a canary has shown is not kept: %s", error, extra={"fields": {"model": name}})


def _state_key(stable: str) -> str:
    return f"beside/{stable}"
