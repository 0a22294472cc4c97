"""The evidence book: what was counted for and against each canary, by the weights that stood, over restarts.

The driver collects all workers' cells at every look and before every route, and asks for a digest's record. Kept in
the state folder as `evidence.json`, so that the same digest deployed again continues its own record: who deploys until
luck helps gains nothing. Always: a cell is counted once, whatever recycles or restarts it; records that are closed
are added up by weight, which leaves every verdict as it is, since terms of equal weight add.

Format 1 knew requests and first events only. It is read: what it holds against a canary stays, or a new build would
be a new try for whoever deploys until luck helps. Its requests are of no known number of keys, and count as no units:
they don't help a canary to pass by its rate.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from native.plane.evidence import Cell
from native.plane.routes import Route, SeatRef
from server.judgement.evidence import COUNTED, SIGNALS, ArmCounts

log = logging.getLogger("roost.control")

FORMAT: Final = 2
FORMAT_WITHOUT_UNITS: Final = 1
KEPT_OPEN: Final = 16  # weight epochs of a model whose cells workers may still write
DIGESTS_MAX: Final = 1000  # of canaries, the oldest are forgotten
ZERO: Final = ArmCounts()
assert COUNTED[: 1 + len(SIGNALS)] == ("requests", *SIGNALS), "what format 1 wrote comes first, in its order"


@dataclass(frozen=True)
class EpochRecord:
    """One pair of weights: what the two arms did under them."""

    weight_epoch: int
    canary_ppm: int
    stable: ArmCounts
    canary: ArmCounts


@dataclass
class _CellCount:
    """A cell that grows. `kept` is what it had before it was given to others, or started at zero again."""

    kept: ArmCounts = ZERO
    last: ArmCounts = ZERO

    @property
    def total(self) -> ArmCounts:
        return self.kept + self.last

    def see(self, counts: ArmCounts) -> None:
        if any(new < old for new, old in zip(_numbers(counts), _numbers(self.last), strict=True)):
            self.kept = self.total
        self.last = counts


@dataclass
class _Open:
    """Weights whose cells may still grow: which seats the arms are, and each worker's cells."""

    model: int
    digest: str
    weight_epoch: int
    canary_ppm: int
    stable: SeatRef
    canary: SeatRef
    stable_cells: dict[int, _CellCount] = field(default_factory=dict)
    canary_cells: dict[int, _CellCount] = field(default_factory=dict)

    def record(self) -> EpochRecord:
        return EpochRecord(self.weight_epoch, self.canary_ppm, _sum(self.stable_cells), _sum(self.canary_cells))


def _sum(cells: Mapping[int, _CellCount]) -> ArmCounts:
    return sum((cell.total for cell in cells.values()), ZERO)


@dataclass
class _Arms:
    """Closed records of one digest, added up by weight."""

    by_ppm: dict[int, tuple[int, ArmCounts, ArmCounts]] = field(default_factory=dict)

    def add(self, record: EpochRecord) -> None:
        _, stable, canary = self.by_ppm.get(record.canary_ppm, (0, ZERO, ZERO))
        self.by_ppm[record.canary_ppm] = (record.weight_epoch, stable + record.stable, canary + record.canary)


class EvidenceBook:
    """boot: names this plane; open records of another one are closed when the book is read."""

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._open: dict[tuple[int, int], _Open] = {}
        self._closed: dict[tuple[str, str], _Arms] = {}
        self._names: dict[int, str] = {}
        self.first_events: dict[str, str] = {}  # whose the plane's are, by model, as far as it is known here

    def begins_anew(self, name: str, canary: str | None) -> bool:
        """True where keys' first events are another digest's: they are `canary`'s from now on.

        A digest that is deployed again goes on with its own evidence, in which a key counts once; one whose last turn
        is not known here keeps what the plane has noted.
        """
        before = self.first_events.get(name)
        if canary is None or before == canary:
            return False
        self.first_events[name] = canary
        return before is not None or not self.records(name, canary)

    def begin(self, model: int, name: str, digest: str | None, route: Route) -> None:
        """A route is about to be published, or was found in the plane: its weights get a record."""
        self._names[model] = name
        key = (model, route.weight_epoch)
        if digest is None or route.stable is None or route.canary is None or key in self._open:
            return
        self._open[key] = _Open(model, digest, route.weight_epoch, route.canary_ppm, route.stable, route.canary)
        for old in [key for key in self._open if key[0] == model and key[1] <= route.weight_epoch - KEPT_OPEN]:
            self._close(old)

    @property
    def open_epochs(self) -> tuple[int, ...]:
        """The weight epochs of all open records: those whose counts may still grow, and some before them."""
        return tuple(record.weight_epoch for record in self._open.values())

    def collect(self, cells: Iterable[Cell]) -> None:
        """Every worker's cells as they are now, those of `open_epochs` at least."""
        arms: dict[tuple[int, int, int], tuple[_Open, bool]] = {}
        for record in self._open.values():
            arms[record.stable.seat, record.stable.generation, record.weight_epoch] = (record, False)
            arms[record.canary.seat, record.canary.generation, record.weight_epoch] = (record, True)
        for cell in cells:
            found = arms.get((cell.seat, cell.generation, cell.weight_epoch))
            if found is None:
                continue
            record, is_canary = found
            counted = record.canary_cells if is_canary else record.stable_cells
            counts = ArmCounts(*(getattr(cell, name) for name in COUNTED))
            counted.setdefault(cell.worker, _CellCount()).see(counts)

    def records(self, name: str, digest: str) -> tuple[EpochRecord, ...]:
        """All that is known of a digest as a canary of this model, oldest first."""
        closed = self._closed.get((name, digest), _Arms()).by_ppm
        found = [EpochRecord(epoch, ppm, stable, canary) for ppm, (epoch, stable, canary) in closed.items()]
        found += [
            record.record()
            for record in self._open.values()
            if record.digest == digest and self._names[record.model] == name
        ]
        return tuple(sorted(found, key=lambda record: record.weight_epoch))

    def canary_requests(self, name: str, digest: str, since_epoch: int = 0) -> int:
        """Requests that a digest has answered as a canary, since the weights of `since_epoch`."""
        records = self.records(name, digest)
        return sum(record.canary.requests for record in records if record.weight_epoch >= since_epoch)

    def _close(self, key: tuple[int, int]) -> None:
        record = self._open.pop(key)
        owner = (self._names[record.model], record.digest)
        # Taken out and put in again: the order is that of the last use.
        arms = self._closed.pop(owner, _Arms())
        arms.add(record.record())
        self._closed[owner] = arms
        while len(self._closed) > DIGESTS_MAX:
            del self._closed[next(iter(self._closed))]

    # --- On disk -----------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """The whole book as JSON."""
        document = {"format": FORMAT, "boot": self._boot, "open": [], "closed": []}
        document["open"] = [
            {
                "model": record.model,
                "name": self._names[record.model],
                "digest": record.digest,
                "weight_epoch": record.weight_epoch,
                "canary_ppm": record.canary_ppm,
                "stable": [record.stable.seat, record.stable.generation],
                "canary": [record.canary.seat, record.canary.generation],
                "stable_cells": _cells_document(record.stable_cells),
                "canary_cells": _cells_document(record.canary_cells),
            }
            for record in self._open.values()
        ]
        document["closed"] = [
            {
                "name": name,
                "digest": digest,
                "weights": [
                    [ppm, epoch, _numbers(stable), _numbers(canary)]
                    for ppm, (epoch, stable, canary) in arms.by_ppm.items()
                ],
            }
            for (name, digest), arms in self._closed.items()
        ]
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes, boot: str) -> EvidenceBook:
        """The book that `encode` wrote, now or in format 1. Raises ValueError for anything else."""
        book = cls(boot)
        try:
            document = json.loads(data)
            if document["format"] not in (FORMAT_WITHOUT_UNITS, FORMAT):
                raise ValueError(
                    f"evidence.json: expected format {FORMAT_WITHOUT_UNITS} or {FORMAT}, got {document['format']!r}"
                )
            counts = _counts_without_units if document["format"] == FORMAT_WITHOUT_UNITS else _counts_of
            for entry in document["closed"]:
                arms = _Arms({ppm: (epoch, counts(s), counts(c)) for ppm, epoch, s, c in entry["weights"]})
                book._closed[entry["name"], entry["digest"]] = arms
            for entry in document["open"]:
                record = _read_open(entry, counts)
                key = (record.model, record.weight_epoch)
                book._open[key] = record
                book._names[record.model] = entry["name"]
                if document["boot"] != boot:
                    book._close(key)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"evidence.json: expected what this build writes, got {error!r}") from error
        if document["format"] == FORMAT_WITHOUT_UNITS:
            log.info(
                "evidence.json is of an older build: its failures count, but its requests let none pass by the cap"
            )
        return book


def _read_open(entry: Mapping[str, Any], counts: Callable[[Iterable[int]], ArmCounts]) -> _Open:
    record = _Open(
        int(entry["model"]),
        str(entry["digest"]),
        int(entry["weight_epoch"]),
        int(entry["canary_ppm"]),
        SeatRef(*entry["stable"]),
        SeatRef(*entry["canary"]),
    )
    for name, cells in (("stable_cells", record.stable_cells), ("canary_cells", record.canary_cells)):
        for worker, (kept, last) in entry[name].items():
            cells[int(worker)] = _CellCount(counts(kept), counts(last))
    return record


def _cells_document(cells: Mapping[int, _CellCount]) -> dict[str, list[list[int]]]:
    return {str(worker): [_numbers(cell.kept), _numbers(cell.last)] for worker, cell in cells.items()}


def _numbers(counts: ArmCounts) -> list[int]:
    return [getattr(counts, name) for name in COUNTED]


def _counts_of(numbers: Iterable[int]) -> ArmCounts:
    return ArmCounts(**{name: int(number) for name, number in zip(COUNTED, numbers, strict=True)})


def _counts_without_units(numbers: Iterable[int]) -> ArmCounts:
    requests, errors, non_finite, timeouts = (int(number) for number in numbers)
    return ArmCounts(requests, errors, non_finite, timeouts, 0, errors, non_finite, timeouts)
